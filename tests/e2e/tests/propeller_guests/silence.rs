//! Names whose servers never answer, and who is not held up by those that ask for them.

use std::{
    net::Ipv4Addr,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use proplet_hal::init_data::DigestAlgorithm;
use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{
    Sources,
    owner::open_result,
    workload::{EncryptedComponent, registry_over_http, with_recipients},
};
use proplet_net::names::{OF_ALL, OF_ONE, Resolver};
use proplet_results::verify::Expectations;
use proplet_settings::init_data::init_data;
use proplet_testkit::{registry::Registry, tee::FakeSnp};
use tokio::time::timeout;

use super::{tls::NAME, tls::TlsServer, *};

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(120);

/// Names below `slow.example` have no answer until this is dropped, and all others lead to this machine.
#[derive(Default)]
struct Silence(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Default)]
struct Heard {
    begun: usize,
    answered: usize,
    is_over: bool,
}

impl Silence {
    fn resolver(&self) -> Resolver {
        let shared = Arc::clone(&self.0);
        Resolver::new(move |name| {
            let (state, changed) = &*shared;
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if name.ends_with("slow.example") {
                state.begun += 1;
                while !state.is_over {
                    state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            } else {
                state.answered += 1;
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        })
    }

    /// Lookups that were begun and have no answer.
    fn begun(&self) -> usize {
        self.0.0.lock().unwrap().begun
    }

    /// Lookups that had an answer at once.
    fn answered(&self) -> usize {
        self.0.0.lock().unwrap().answered
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over = true;
        drop(state);
        self.0.1.notify_all();
    }
}

/// A host, and an owner whose component asks `NAME` over TLS.
struct World {
    silence: Silence,
    executor: Executor,
    server: TlsServer,
    reader: PrivateKey,
    owners: Request,
    _sources: Sources,
}

impl World {
    async fn new() -> Self {
        let silence = Silence::default();
        let server = TlsServer::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let port = server.host.rsplit(':').next().unwrap();
        let named = format!("{NAME}:{port}");
        let slow: Vec<String> = (0..100).map(|n| format!("{n}.slow.example")).collect();
        let sources = Sources::start().await.unwrap();
        let more = format!(
            "[http]\nhosts = {slow:?}\nprivate_hosts = [{named:?}]\nca_pem = {:?}\n",
            server.ca_pem
        );
        let settings = Arc::new(sources.settings(&more).unwrap());
        let mut host = Host::new(settings, Some(Arc::new(FakeSnp::new())));
        host.swap = Swap::None;
        host.resolver = silence.resolver();
        let reader = PrivateKey::generate_p256().unwrap();
        let policy = format!("version = 1\nhosts = [{named:?}]\n");
        let policy = with_recipients(&policy, &[reader.public().clone()]);
        let component = guest(GuestName::WebClient).await;
        let key_id = "kbs:///default/key/owner".parse().unwrap();
        let published = sources.publish("owner", &component, Some(&policy), key_id);
        let (_, reference): (_, ImageReference) = published.await.unwrap();
        let owners = Request {
            source: Source::Encrypted {
                image: reference.to_string(),
                expected_key: None,
            },
            task: task("run", &[&format!("get https://{named}/")]),
        };
        Self {
            silence,
            executor: Executor::new(host).unwrap(),
            server,
            reader,
            owners,
            _sources: sources,
        }
    }

    /// The owner's task is fetched, decrypted, compiled and run, and its request is answered.
    async fn is_answered(&self) {
        let outcome = self
            .executor
            .execute(self.owners.clone(), CancelToken::new());
        let outcome = timeout(LONG, outcome).await.unwrap();
        assert_eq!(code(&outcome), "");
        let expectations = Expectations::of_any_measurement();
        let opened = open_result(&self.reader, &outcome.results, &expectations).unwrap();
        assert_eq!(String::from_utf8_lossy(&opened.content), "200: ok");
        assert_eq!(self.server.requests(), 1);
    }
}

/// With fewer threads for what blocks than there are silent names.
fn with_few_threads(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(OF_ALL + 16)
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

#[test]
fn a_guest_that_gives_up_silent_names_holds_up_no_other_owner() {
    with_few_threads(async {
        let world = World::new().await;
        let flood = run(
            &world.executor,
            GuestName::WebClient,
            "run",
            &["flood slow.example"],
        );
        let outcome = timeout(LONG, flood).await.unwrap();
        assert_eq!(text(&outcome), "ErrorCode::ConnectionTimeout");
        world.is_answered().await;
        assert_eq!(world.silence.begun(), OF_ONE);
    });
}

#[test]
fn starts_and_stops_of_images_at_silent_names_hold_up_no_other_owner() {
    with_few_threads(async {
        let world = World::new().await;
        let mut pairs = Vec::new();
        for number in 0..100 {
            for source in [
                Source::Plain(format!("https://{number}.slow.example/app.wasm")),
                Source::Plain(format!("{number}.r.slow.example/app:1")),
                Source::Encrypted {
                    image: format!("{number}.e.slow.example/app:1"),
                    expected_key: None,
                },
            ] {
                let (executor, cancel) = (world.executor.clone(), CancelToken::new());
                let request = Request {
                    source,
                    task: task("run", &[]),
                };
                let stop = cancel.clone();
                let started = tokio::spawn(async move { executor.execute(request, cancel).await });
                pairs.push((started, stop));
            }
        }
        // Plain images have their places, and encrypted ones that were never opened have theirs.
        let begun = async {
            while world.silence.begun() < 2 * OF_ONE {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, begun).await.unwrap();
        for (started, stop) in pairs {
            stop.cancel();
            assert_eq!(code(&started.await.unwrap()), "stopped");
        }
        world.is_answered().await;
        assert_eq!(world.silence.begun(), 2 * OF_ONE);
    });
}

#[test]
fn a_new_image_of_a_registry_that_was_found_before_waits_for_no_silent_name() {
    with_few_threads(async {
        let silence = Silence::default();
        let sources = Sources::start().await.unwrap();
        // Another port of the same name: or the connection for the first image would do for the second.
        let other = Registry::start().await.unwrap();
        let reader = PrivateKey::generate_p256().unwrap();
        let policy = "version = 1\nexports = [\"add\"]\n";
        let policy = with_recipients(policy, &[reader.public().clone()]);
        let component = guest(GuestName::AddCore).await;
        let (mut hosts, mut requests) = (Vec::new(), Vec::new());
        for (number, address) in [sources.registry.host(), other.host()].iter().enumerate() {
            let key_id = format!("kbs:///default/key/owner-{number}");
            let image =
                EncryptedComponent::encrypt(&component, Some(&policy), key_id.parse().unwrap());
            let image = image.unwrap();
            let (key_broker, key) = (&sources.key_broker, image.key.as_ref());
            key_broker.set_resource(&image.key_id, key);
            let reference: ImageReference = format!("{address}/app:1").parse().unwrap();
            let pushed = image.push(&registry_over_http(address), &reference).await;
            let host = address.replace("127.0.0.1", "registry.example");
            requests.push(Request {
                source: Source::Encrypted {
                    image: pushed.unwrap().to_string().replace(address, &host),
                    expected_key: None,
                },
                task: task("add", &["40", "2"]),
            });
            hosts.push(host);
        }
        let text = format!(
            "[registry]\nhttp_hosts = {hosts:?}\n[kbs]\nurl = {:?}\nallow_http = true\n",
            sources.key_broker.url()
        );
        let document = init_data(&text, DigestAlgorithm::Sha256).unwrap();
        let settings = Settings::parse(Some(document.text()), &Environment::default()).unwrap();
        let mut host = Host::new(Arc::new(settings), Some(Arc::new(FakeSnp::new())));
        host.swap = Swap::None;
        host.resolver = silence.resolver();
        let executor = Executor::new(host).unwrap();

        // Nobody's either, so far: what counts is that its registry is found.
        let [first, second] = requests.try_into().unwrap();
        let outcome = executor.execute(first, CancelToken::new());
        assert_eq!(code(&timeout(LONG, outcome).await.unwrap()), "");
        let mut flood = tokio::task::JoinSet::new();
        let stop = CancelToken::new();
        for number in 0..100 {
            let (executor, cancel) = (executor.clone(), stop.clone());
            let request = Request {
                source: Source::Encrypted {
                    image: format!("{number}.e.slow.example/app:1"),
                    expected_key: None,
                },
                task: task("add", &["40", "2"]),
            };
            flood.spawn(async move { executor.execute(request, cancel).await });
        }
        let begun = async {
            while silence.begun() < OF_ONE {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, begun).await.unwrap();
        let answered = silence.answered();
        let outcome = executor.execute(second, CancelToken::new());
        assert_eq!(code(&timeout(LONG, outcome).await.unwrap()), "");
        assert!(silence.answered() > answered);
        assert_eq!(silence.begun(), OF_ONE);
        stop.cancel();
        while let Some(ended) = flood.join_next().await {
            assert_ne!(code(&ended.unwrap()), "");
        }
    });
}
