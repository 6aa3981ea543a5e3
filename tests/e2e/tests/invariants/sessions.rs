//! Invariant 4: the key broker is the settings', and what it released lives no longer than its session.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use proplet_executor::{
    Executor, Host, Request, Source, Task, TaskOutcome, Workload, harden::Swap,
};
use proplet_hal::TeeProvider;
use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{RunningProplet, Services};
use proplet_results::{ResultDocument, open, verify::Expectations};
use proplet_runtime::CancelToken;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    guests::GuestName,
    kbs::{DevKeyBroker, Policy},
    tee::{FakeSnp, HookedTee},
};

use crate::{recorder::Recorder, support::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_id_that_names_another_key_broker_is_refused_and_neither_is_asked() {
    let scene = Scene::new().await;
    let other = DevKeyBroker::start().await.unwrap();
    let component = guest(GuestName::HelloAttest).await;
    for host in [other.address().to_string(), "kbs.evil.example".into()] {
        let key = format!("kbs://{host}/alice/key/module");
        let (workload, image) = scene.publish_as(&component, &scene.policy(""), &key).await;
        other.set_resource(&uri(KEY), workload.key.as_ref());
        let outcome = scene.run(&task(&image, &["x"])).await;
        assert_refused(&outcome, "image-key-mismatch");
        assert!(outcome.error.unwrap().contains(&host));
    }
    assert_eq!(other.counts(), Default::default());
    assert_eq!(scene.services.key_broker.counts().auth, 0);
    // The one of the settings may be named.
    let own = scene.services.key_broker.address();
    let key = format!("kbs://{own}/alice/key/module");
    let (_, image) = scene.publish_as(&component, &scene.policy(""), &key).await;
    scene.ask(&image, "x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_cannot_choose_the_key_broker() {
    let scene = Scene::new().await;
    let other = DevKeyBroker::start().await.unwrap();
    let (workload, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    other.set_resource(&uri(KEY), workload.key.as_ref());
    let mut message = task(&image, &["echo x"]).start_message();
    for name in [
        "kbs_url",
        "kbs_uri",
        "KBS_URL",
        "PROPLET_KBS_URI",
        "PROPLET_KBS_URL",
    ] {
        message[name] = other.url().into();
        message["env"][name] = other.url().into();
    }
    let manager = &scene.services.manager;
    manager
        .send("control/manager/start", &message.to_string())
        .await
        .unwrap();
    let outcome = manager
        .result(message["id"].as_str().unwrap())
        .await
        .unwrap();
    assert_eq!(outcome.error, None);
    assert_eq!(other.counts(), Default::default());
    assert_eq!(scene.services.key_broker.counts().released, 1);
}

/// The values of the session cookie and of the token in what a key broker answered.
fn credentials(answers: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answers);
    let after = |mark: &str, end: char| -> Vec<String> {
        let parts = text.split(mark).skip(1);
        parts
            .filter_map(|rest| Some(rest.split_once(end)?.0.to_owned()))
            .collect()
    };
    let tokens = after("\"token\":\"", '"');
    let cookies = after("kbs-session-id=", ';');
    assert!(!tokens.is_empty() && !cookies.is_empty());
    // The signature alone would do, too: the rest of a token is no secret.
    let signatures = tokens
        .iter()
        .filter_map(|token| Some(token.rsplit_once('.')?.1.to_owned()));
    signatures.chain(cookies).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_token_goes_to_the_key_broker_and_nowhere_else() {
    let services = Services::start().await.unwrap();
    let kbs = Recorder::before(services.key_broker.address()).await;
    let registry = Recorder::before(services.registry.host().parse().unwrap()).await;
    let settings = services
        .settings("")
        .replace(
            &services.key_broker.url(),
            &format!("http://{}", kbs.address),
        )
        .replace(&services.registry.host(), &registry.address.to_string());
    let tee = Arc::new(FakeSnp::new());
    let proplet = RunningProplet::start(&settings, Some(tee.clone())).unwrap();
    let scene = Scene::of(services, proplet, tee).await;
    let through = |image: &ImageReference| -> ImageReference {
        let host = scene.services.registry.host();
        image
            .to_string()
            .replace(&host, &registry.address.to_string())
            .parse()
            .unwrap()
    };

    // Everything that a component can be told by its host, in its own results.
    let mut told = Vec::new();
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    for input in [
        "env",
        "args",
        "identity",
        "inputs",
        "recipients",
        "evidence 1",
        "publish x",
    ] {
        told.extend(scene.ask(&through(&image), input).await);
    }
    let policy = scene.policy(&revealing(&[SECRET, "kbs:///alice/data/none"]));
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish_as(&probe, &policy, KEY).await;
    told.extend(
        scene
            .ask(&through(&image), &format!("reveal {SECRET}"))
            .await,
    );
    let missing = "reveal kbs:///alice/data/none";
    let failure = scene
        .ask_in_vain(&through(&image), missing, "guest-failed")
        .await;
    told.extend(failure.error.as_bytes());

    let credentials = credentials(&kbs.received());
    assert!(contains(
        &kbs.sent(),
        credentials.last().unwrap().as_bytes()
    ));
    for credential in credentials {
        assert!(
            !contains(&told, credential.as_bytes()),
            "told to the component"
        );
        assert!(
            !contains(&registry.sent(), credential.as_bytes()),
            "sent to the registry"
        );
        assert!(!scene.was_told(&credential), "sent over the broker");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_released_dies_with_its_session_in_a_running_daemon() {
    let mut services = Services::start().await.unwrap();
    let broker = DevKeyBroker::builder().token_lifetime(Duration::from_secs(3));
    services.key_broker = broker.start().await.unwrap();
    let scene = Scene::among(services, "").await;
    let component = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish(&component, &revealing(&[SECRET])).await;
    let start = || task(&image, &[&format!("reveal {SECRET}")]);
    let mut outcome = scene.run(&start()).await;
    while outcome.error.is_some() {
        // A slow machine takes longer than a session lives.
        assert_code(&outcome, "session-ended");
        outcome = scene.run(&start()).await;
    }
    scene.services.key_broker.set_policy(Policy::DenyAll);
    // Code, key and secret are kept, and serve until the session ends; then the key broker decides anew.
    while outcome.error.is_none() {
        outcome = scene.run(&start()).await;
    }
    // The session may have ended between the code and the secret of that start.
    assert!(!scene.was_told(CANARY));
    assert_refused(&scene.run(&start()).await, "kbs-denied");
}

/// An executor in a runtime whose clock can be moved, and a component that reveals its secret.
struct Still {
    executor: Executor,
    services: Services,
    owner: PrivateKey,
}

impl Still {
    async fn new() -> Self {
        Self::on(Arc::new(FakeSnp::new())).await
    }

    async fn on(tee: Arc<dyn TeeProvider>) -> Self {
        Self::among(Services::start().await.unwrap(), tee)
    }

    fn among(services: Services, tee: Arc<dyn TeeProvider>) -> Self {
        // The clock may be moved while the key broker is asked.
        let text = services.settings("");
        let text = text.replace("timeout_seconds = 5", "timeout_seconds = 60");
        let settings = Settings::parse(Some(&text), &Environment::default());
        let mut host = Host::new(settings.unwrap().into(), Some(tee));
        host.swap = Swap::None;
        let executor = Executor::new(host).unwrap();
        let secret = CANARY.as_bytes();
        services.key_broker.set_resource(&uri(SECRET), secret);
        Self {
            executor,
            services,
            owner: PrivateKey::generate_p256().unwrap(),
        }
    }

    async fn publish(&self, key: &str) -> ImageReference {
        let policy = policy_for(self.owner.public(), &revealing(&[SECRET]));
        self.publish_with(&policy, key).await
    }

    async fn publish_with(&self, policy: &str, key: &str) -> ImageReference {
        let probe = guest(GuestName::SecretProbe).await;
        let published = self
            .services
            .publish("probe", &probe, Some(policy), uri(key));
        published.await.unwrap().1
    }

    async fn reveal(&self, image: &ImageReference) -> TaskOutcome {
        let request = Request {
            source: source(image),
            task: revealing_task(),
        };
        self.executor.execute(request, CancelToken::new()).await
    }

    async fn prepare(&self, image: &ImageReference) -> Arc<Workload> {
        let never = CancelToken::new();
        let prepared = self.executor.prepare(source(image), &never).await;
        prepared.unwrap()
    }

    async fn run(&self, workload: &Workload) -> TaskOutcome {
        let never = CancelToken::new();
        self.executor.run(workload, revealing_task(), never).await
    }

    async fn pass(&self, seconds: u64) {
        pass(seconds).await;
    }

    fn refuse(&self, path: &'static str) {
        let policy = Policy::predicate(move |request| request.path != path);
        self.services.key_broker.set_policy(policy);
    }
}

/// Moves the clock. Only between requests: nobody waits for anything then.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

fn source(image: &ImageReference) -> Source {
    Source::Encrypted {
        image: image.to_string(),
        expected_key: None,
    }
}

fn revealing_task() -> Task {
    Task {
        id: new_id(),
        name: "job".into(),
        inputs: vec![format!("reveal {SECRET}")],
        arguments: Vec::new(),
        invoke: None,
        env: Default::default(),
        watch: Default::default(),
        record: None,
    }
}

fn code(outcome: &TaskOutcome) -> &str {
    outcome
        .error
        .as_ref()
        .map_or("", |refusal| refusal.code().as_str())
}

#[tokio::test]
async fn within_a_session_nobody_is_asked_again() {
    let still = Still::new().await;
    let image = still.publish(KEY).await;
    assert_eq!(code(&still.reveal(&image).await), "");
    let asked = still.services.key_broker.counts();
    assert_eq!((asked.attest, asked.released), (1, 2));
    still.services.key_broker.set_policy(Policy::DenyAll);
    still.pass(200).await;
    assert_eq!(code(&still.reveal(&image).await), "");
    assert_eq!(still.services.key_broker.counts(), asked);
}

#[tokio::test]
async fn kept_code_is_gone_when_its_session_is() {
    let still = Still::new().await;
    let image = still.publish(KEY).await;
    assert_eq!(code(&still.reveal(&image).await), "");
    // The key broker would still take the old token; the proplet must not ask with it.
    still.pass(301).await;
    still.refuse("alice/key/module");
    let outcome = still.reveal(&image).await;
    assert_eq!(
        (code(&outcome), outcome.results.as_str()),
        ("kbs-denied", "")
    );
    assert_eq!(still.services.key_broker.counts().attest, 2);
    still.services.key_broker.set_policy(Policy::Default);
    assert_eq!(code(&still.reveal(&image).await), "");
}

#[tokio::test]
async fn a_kept_secret_is_gone_when_its_session_is() {
    let still = Still::new().await;
    let image = still.publish(KEY).await;
    assert_eq!(code(&still.reveal(&image).await), "");
    still.pass(301).await;
    still.refuse("alice/data/secret");
    let outcome = still.reveal(&image).await;
    assert_eq!(code(&outcome), "guest-failed");
    let document = ResultDocument::from_text(&outcome.results).unwrap();
    let expected = Expectations::of_any_measurement();
    let opened = open(
        &document,
        &still.owner,
        &trust(),
        &expected,
        SystemTime::now(),
    );
    let failure = opened.unwrap().failure().unwrap();
    assert!(
        failure.error.contains("alice/data/secret"),
        "{}",
        failure.error
    );
    assert!(!failure.error.contains(CANARY));
}

#[tokio::test]
async fn a_session_that_the_key_broker_ends_takes_everything_with_it() {
    let still = Still::new().await;
    let image = still.publish(KEY).await;
    let other = still.publish("kbs:///alice/key/other").await;
    assert_eq!(code(&still.reveal(&image).await), "");
    still.services.key_broker.forget_sessions();
    still.services.key_broker.replace_signing_key().unwrap();
    still.refuse("alice/key/module");
    // The proplet learns of it when it asks for something else, and then keeps nothing of before.
    assert_eq!(code(&still.reveal(&other).await), "");
    assert_eq!(code(&still.reveal(&image).await), "kbs-denied");
}

#[tokio::test]
async fn a_key_that_its_owner_replaced_is_asked_for_within_the_session() {
    let still = Still::new().await;
    let first = still.publish(KEY).await;
    assert_eq!(code(&still.reveal(&first).await), "");
    // Encrypted anew: another key under the same id.
    let second = still.publish(KEY).await;
    assert_eq!(code(&still.reveal(&second).await), "");
    assert_eq!(still.services.key_broker.counts().attest, 1);
    // What was opened before stays open, and cold it would not open any more.
    assert_eq!(code(&still.reveal(&first).await), "");
    still.pass(301).await;
    assert_eq!(code(&still.reveal(&first).await), "image-key-mismatch");
}

#[tokio::test]
async fn a_workload_is_prepared_once_and_run_for_as_long_as_its_session_lives() {
    let still = Still::new().await;
    let image = still.publish(KEY).await;
    let workload = still.prepare(&image).await;
    let broker = &still.services.key_broker;
    // The key, and nothing that only a run needs.
    assert_eq!(broker.counts().resources, 1);
    let pulled = still.services.registry.counts();
    let (one, two) = tokio::join!(still.run(&workload), still.run(&workload));
    assert_eq!((code(&one), code(&two)), ("", ""));
    assert_ne!(one.results, two.results);
    assert_eq!(code(&still.run(&workload).await), "");
    assert_eq!(still.services.registry.counts(), pulled);
    assert_eq!(broker.counts().attest, 1);
    still.pass(301).await;
    let outcome = still.run(&workload).await;
    assert_eq!(
        (code(&outcome), outcome.results.as_str()),
        ("session-ended", "")
    );
    assert_eq!(code(&still.run(&*still.prepare(&image).await).await), "");
}

#[tokio::test]
async fn a_session_that_ends_before_the_component_begins_takes_it_with_it() {
    // The evidence of the receipt key takes longer than a session lives. The key broker asks first.
    let tee = HookedTee::new(Arc::new(FakeSnp::new()), |call| async move {
        if call == 1 {
            pass(301).await;
        }
    });
    let still = Still::on(Arc::new(tee)).await;
    let image = still.publish(KEY).await;
    let broker = &still.services.key_broker;
    let outcome = still.reveal(&image).await;
    assert_eq!(
        (code(&outcome), outcome.results.as_str()),
        ("session-ended", "")
    );
    assert_eq!(broker.counts().released, 1, "the key, and no secret");
    assert_eq!(code(&still.reveal(&image).await), "");
    assert_eq!((broker.counts().attest, broker.counts().released), (2, 3));
}

#[tokio::test]
async fn a_component_whose_session_ended_while_it_was_prepared_is_prepared_again() {
    const READERS: &str = "kbs:///alice/recipients/all";
    let mut services = Services::start().await.unwrap();
    let broker = DevKeyBroker::builder().token_lifetime(Duration::from_secs(20));
    services.key_broker = broker.start().await.unwrap();
    let still = Still::among(services, Arc::new(FakeSnp::new()));
    let set = serde_json::json!({"keys": [still.owner.public().to_jwk()]}).to_string();
    let broker = &still.services.key_broker;
    broker.set_resource(&uri(READERS), set.as_bytes());
    let named = format!(
        "version = 1\nrecipients_resource = {READERS:?}\n{}",
        revealing(&[SECRET])
    );
    let image = still.publish_with(&named, KEY).await;
    // The session ends as soon as the key is given for the first time, before the recipients are asked for.
    let first = AtomicBool::new(true);
    broker.set_policy(Policy::predicate(move |request| {
        if request.path == uri(KEY).path() && first.swap(false, Ordering::SeqCst) {
            tokio::spawn(pass(21));
        }
        true
    }));
    assert_eq!(code(&still.reveal(&image).await), "");
    let counts = still.services.key_broker.counts();
    // The key twice, the recipients and the secret.
    assert_eq!((counts.attest, counts.released), (2, 4));
}

#[tokio::test]
async fn a_refusal_is_believed_for_a_while_and_not_longer() {
    let still = Still::new().await;
    let image = still.publish(KEY).await;
    for refused in [true, false] {
        if refused {
            still.refuse("alice/data/secret");
        } else {
            // Missing, in a session that does not remember the secret.
            still.pass(301).await;
            still.services.key_broker.delete_resource(&uri(SECRET));
        }
        assert_eq!(code(&still.reveal(&image).await), "guest-failed");
        let asked = still.services.key_broker.counts();
        for _ in 0..5 {
            assert_eq!(code(&still.reveal(&image).await), "guest-failed");
        }
        assert_eq!(still.services.key_broker.counts(), asked, "{refused}");
        still.services.key_broker.set_policy(Policy::Default);
        let secret = CANARY.as_bytes();
        still.services.key_broker.set_resource(&uri(SECRET), secret);
        still.pass(31).await;
        assert_eq!(code(&still.reveal(&image).await), "", "{refused}");
    }
}
