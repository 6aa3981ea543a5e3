//! What else an encrypted task needs, when it is away for a while: the quoting service, the key broker, and the right
//! time.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use proplet_executor::{Executor, Host, Request, Source, Task, TaskOutcome, harden::Swap};
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{KEY_ID, Sources, owner::open_result, workload::with_recipients};
use proplet_results::verify::Expectations;
use proplet_runtime::CancelToken;
use proplet_testkit::{kbs::DevKeyBroker, ports::free_address, tee::FakeSnp};
use proplet_types::Clock;
use tokio::time::Instant;

struct Scene {
    sources: Sources,
    executor: Executor,
    reader: PrivateKey,
}

impl Scene {
    async fn new(tee: Arc<dyn TeeProvider>, clock: Option<Arc<dyn Clock>>) -> Self {
        Self::among(Sources::start().await.unwrap(), tee, clock)
    }

    fn among(sources: Sources, tee: Arc<dyn TeeProvider>, clock: Option<Arc<dyn Clock>>) -> Self {
        let settings = sources.settings("timeout_seconds = 60\n").unwrap();
        let mut host = Host::new(Arc::new(settings), Some(tee));
        host.swap = Swap::None;
        if let Some(clock) = clock {
            host.clock = clock;
        }
        Self {
            sources,
            executor: Executor::new(host).unwrap(),
            reader: PrivateKey::generate_p256().unwrap(),
        }
    }

    async fn publish(&self, name: &str) -> ImageReference {
        let adder = wat::parse_str(
            "(module (func (export \"add\") (param i64 i64) (result i64)
               (i64.add (local.get 0) (local.get 1))))",
        )
        .unwrap();
        let policy = with_recipients(
            "version = 1\nexports = [\"add\"]\n",
            &[self.reader.public().clone()],
        );
        let key = KEY_ID.parse().unwrap();
        let published = self.sources.publish(name, &adder, Some(&policy), key);
        published.await.unwrap().1
    }

    async fn run(&self, image: &ImageReference) -> TaskOutcome {
        let request = Request {
            source: Source::Encrypted {
                image: image.to_string(),
                expected_key: None,
            },
            task: Task {
                id: "a".into(),
                name: "add".into(),
                inputs: vec!["10".into(), "20".into()],
                arguments: Vec::new(),
                invoke: None,
                env: Default::default(),
                watch: Default::default(),
                record: None,
            },
        };
        self.executor.execute(request, CancelToken::new()).await
    }

    async fn serves(&self, image: &ImageReference) {
        let outcome = self.run(image).await;
        assert!(outcome.error.is_none(), "{:?}", code(&outcome));
        let expected = Expectations::of_any_measurement();
        let opened = open_result(&self.reader, &outcome.results, &expected).unwrap();
        assert_eq!(opened.content.as_slice(), b"30");
    }
}

fn code(outcome: &TaskOutcome) -> &str {
    let error = outcome.error.as_ref();
    error.map_or("", |error| error.code().as_str())
}

/// Moves the monotonic clock. Only between requests: nobody waits for anything then.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A TEE whose quoting service is away for a while.
struct Away {
    tee: FakeSnp,
    until: Mutex<Instant>,
}

#[async_trait]
impl TeeProvider for Away {
    fn tee(&self) -> TeeName {
        self.tee.tee()
    }

    fn attester(&self) -> &str {
        self.tee.attester()
    }

    fn is_hardware(&self) -> bool {
        self.tee.is_hardware()
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        if Instant::now() < *self.until.lock().unwrap() {
            return Err(EvidenceError::Unavailable {
                tee: self.tee(),
                reason: "the quoting service does not answer".to_owned(),
            });
        }
        self.tee.evidence(report_data).await
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        self.tee.init_data().await
    }
}

#[tokio::test]
async fn a_quoting_service_that_is_away_for_a_minute_is_named_and_found_again() {
    let minute = Duration::from_secs(60);
    let tee = Arc::new(Away {
        tee: FakeSnp::new(),
        until: Mutex::new(Instant::now() + minute),
    });
    let scene = Scene::new(tee.clone(), None).await;
    let image = scene.publish("adder").await;
    for _ in 0..2 {
        assert_eq!(code(&scene.run(&image).await), "kbs-no-evidence");
        pass(minute / 4).await;
    }
    pass(minute).await;
    scene.serves(&image).await;
    // While a session lives nobody misses it.
    *tee.until.lock().unwrap() = Instant::now() + minute;
    scene.serves(&image).await;
    // And when one has ended, it is missed again, and found.
    *tee.until.lock().unwrap() = Instant::now() + 10 * minute;
    pass(6 * minute).await;
    assert_eq!(code(&scene.run(&image).await), "kbs-no-evidence");
    pass(5 * minute).await;
    scene.serves(&image).await;
}

#[tokio::test]
async fn a_key_broker_that_was_restarted_is_attested_to_again() {
    let free = free_address().unwrap();
    let at = |address: SocketAddr| DevKeyBroker::builder().listen(address);
    let sources = Sources::with(at(free).start().await.unwrap())
        .await
        .unwrap();
    let mut scene = Scene::among(sources, Arc::new(FakeSnp::new()), None);
    let first = scene.publish("first").await;
    scene.serves(&first).await;
    // Another process at the same address: it knows no session, and signs with another key.
    let placeholder = DevKeyBroker::start().await.unwrap();
    let old = std::mem::replace(&mut scene.sources.key_broker, placeholder);
    old.shutdown().await;
    scene.sources.key_broker = at(free).start().await.unwrap();
    let second = scene.publish("second").await;
    scene.serves(&second).await;
    assert_eq!(scene.sources.key_broker.counts().attest, 1);
}

/// A clock that somebody sets.
struct Set(Mutex<SystemTime>);

impl Clock for Set {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_or_forward_changes_nothing_but_times() {
    let now = SystemTime::now();
    let clock = Arc::new(Set(Mutex::new(now)));
    let scene = Scene::new(Arc::new(FakeSnp::new()), Some(clock.clone())).await;
    let image = scene.publish("adder").await;
    scene.serves(&image).await;
    let year = Duration::from_secs(365 * 24 * 3600);
    for time in [now - 10 * year, now + 10 * year, SystemTime::UNIX_EPOCH] {
        *clock.0.lock().unwrap() = time;
        scene.serves(&image).await;
    }
    // Sessions go by the monotonic clock.
    assert_eq!(scene.sources.key_broker.counts().attest, 1);
    *clock.0.lock().unwrap() = now;
    pass(Duration::from_secs(301)).await;
    scene.serves(&image).await;
    assert_eq!(scene.sources.key_broker.counts().attest, 2);
}
