//! Guests as their authors build them, on the runtime alone: what the standard library imports is granted,
//! what it does is held by the limits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::ThreadId;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use proplet_component::{Component, Policy};
use proplet_runtime::{
    AttestationError, Attestor, Compiled, Grants, HttpGuest, Input, Outcome, Owner, PublishError,
    PublishedReceipt, ResultSink, Runtime, RuntimeConfig, SecretError, SecretSource, Services,
    TaskSpec, Unrecorded, WorkloadEvidence, WorkloadIdentity,
};
use proplet_testkit::guests::{self, GuestName};
use proplet_types::{Digest, ResourceUri};
use zeroize::Zeroizing;

/// No TEE, one secret, and whatever is published is taken.
struct Alone;

#[async_trait]
impl Attestor for Alone {
    fn identity(&self) -> WorkloadIdentity {
        WorkloadIdentity {
            component_digest: Digest::of(b"component"),
            image_digest: None,
            policy_digest: None,
            settings_digest: Digest::of(b"settings"),
            tee: None,
            is_hardware: false,
        }
    }

    async fn evidence(&self, _: &[u8]) -> Result<WorkloadEvidence, AttestationError> {
        Err(AttestationError::NoTee)
    }
}

const SECRET: &str = "kbs:///default/key/held";

#[async_trait]
impl SecretSource for Alone {
    async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        match uri.to_string().as_str() {
            SECRET => Ok(Zeroizing::new(b"hunter2".to_vec())),
            other => Err(SecretError::NotFound(other.to_owned())),
        }
    }
}

impl ResultSink for Alone {
    fn publish(&self, _: &[u8], _: &str) -> Result<PublishedReceipt, PublishError> {
        Ok(PublishedReceipt {
            jws: None,
            digest: "sha256:0f".to_owned(),
        })
    }

    fn recipients(&self) -> Vec<String> {
        Vec::new()
    }
}

struct Host {
    runtime: Runtime,
    compiled: Compiled,
}

impl Host {
    async fn of(guest: GuestName) -> Self {
        let config = RuntimeConfig {
            concurrent_tasks: 4,
            ..RuntimeConfig::default()
        };
        Self::with(guest, config).await
    }

    async fn with(guest: GuestName, config: RuntimeConfig) -> Self {
        let guest = tokio::task::spawn_blocking(move || guests::build(guest))
            .await
            .unwrap()
            .unwrap();
        let runtime = Runtime::new(config).unwrap();
        let component = Arc::new(Component::of(guest.bytes.clone()));
        let compiled = runtime.compile(component, &Owner::Anybody).await.unwrap();
        Self { runtime, compiled }
    }

    async fn run(&self, task: TaskSpec) -> Outcome {
        self.runtime.run(&self.compiled, task, services()).await
    }
}

fn services() -> Services {
    let alone = Arc::new(Alone);
    Services {
        attestation: alone.clone(),
        secrets: alone.clone(),
        results: alone,
        record: Arc::new(Unrecorded),
    }
}

fn task(inputs: &[&str]) -> TaskSpec {
    TaskSpec {
        inputs: inputs.iter().map(|input| Input::text(*input)).collect(),
        ..TaskSpec::new("task-1", "job")
    }
}

/// Code and all words of the error.
fn error(outcome: &Outcome) -> (&'static str, String) {
    let error = outcome.value.as_ref().expect_err("the task ended well");
    (error.code().as_str(), error.full_text().to_string())
}

#[tokio::test]
async fn a_program_writes_its_result() {
    let host = Host::of(GuestName::GreetCommand).await;
    let outcome = host.run(task(&["Ada", "Grace"])).await;
    assert_eq!(
        *outcome.plain_text().unwrap(),
        "Hello, Ada!\nHello, Grace!\n"
    );
    assert_eq!(outcome.export, "wasi:cli/run");
    assert!(outcome.usage.memory_peak_bytes > 0);
}

#[tokio::test]
async fn a_core_module_computes() {
    let host = Host::of(GuestName::AddCore).await;
    for (name, inputs, expected) in [
        ("add", &["10", "20"][..], "30"),
        ("fib", &["90"], "2880067194370816120"),
        ("half", &["3"], "1.5"),
    ] {
        let outcome = host
            .run(TaskSpec {
                name: name.to_owned(),
                ..task(inputs)
            })
            .await;
        assert_eq!(*outcome.plain_text().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_guest_without_a_tee_learns_so() {
    let host = Host::of(GuestName::HelloAttest).await;
    let outcome = host.run(task(&["nonce"])).await;
    let (code, words) = error(&outcome);
    assert_eq!(code, "guest-failed");
    assert!(words.contains("TEE"), "{words}");
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    let settings = format!("settings  {}", Digest::of(b"settings"));
    assert!(stderr.contains(&settings), "{stderr}");
}

#[tokio::test]
async fn a_secret_is_held_and_not_seen() {
    let host = Host::of(GuestName::SecretHolder).await;
    let (code, words) = error(&host.run(task(&[SECRET])).await);
    assert_eq!(code, "import-not-granted");
    assert!(
        words.contains("propeller:confidential/secrets@0.1.0"),
        "{words}"
    );
    let policy = format!("version = 1\n[[secrets]]\nuri = {SECRET:?}");
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let outcome = host
        .run(TaskSpec {
            grants: Grants::from_policy(policy),
            ..task(&[SECRET])
        })
        .await;
    let (content, _) = outcome.content().expect("the component may hold it");
    let text = String::from_utf8_lossy(&content);
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn every_call_to_the_network_is_denied_and_the_guest_goes_on() {
    let host = Host::of(GuestName::Dialler).await;
    let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    there.set_nonblocking(true).unwrap();
    let address = there.local_addr().unwrap();
    for word in ["connect", "send-udp", "listen"] {
        let outcome = host.run(task(&[&format!("{word} {address}")])).await;
        let (code, words) = error(&outcome);
        assert_eq!(code, "guest-failed", "{word}: {words}");
        assert!(words.contains("ermission denied"), "{word}: {words}");
    }
    let outcome = host.run(task(&["resolve localhost:80"])).await;
    assert_eq!(error(&outcome).0, "guest-failed");
    assert_eq!(
        there.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

async fn says(host: &Host, input: &str) -> String {
    let outcome = host.run(task(&[input])).await;
    match outcome.content() {
        Some((content, _)) => String::from_utf8_lossy(&content).into_owned(),
        None => panic!("{}", error(&outcome).1),
    }
}

#[tokio::test]
async fn no_socket_is_made_and_no_name_is_looked_up() {
    let host = Host::of(GuestName::Dialler).await;
    for name in ["localhost", "127.0.0.1", "::1", "example.org", "", "a b"] {
        assert_eq!(
            says(&host, &format!("sockets {name}")).await,
            "access-denied access-denied access-denied access-denied permanent-resolver-failure",
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_request_can_be_built_and_is_not_sent() {
    let host = Host::of(GuestName::Dialler).await;
    let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    there.set_nonblocking(true).unwrap();
    let address = there.local_addr().unwrap();
    for authority in [
        address.to_string(),
        "localhost".into(),
        "example.org".into(),
    ] {
        let answer = says(&host, &format!("request {authority}")).await;
        assert!(
            answer == "ErrorCode::HttpRequestDenied, room for Ok(Ok(4096))",
            "{answer}"
        );
    }
    assert_eq!(
        there.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[tokio::test]
async fn what_a_request_holds_is_bounded() {
    let host = Host::of(GuestName::Dialler).await;
    for (length, taken) in [
        (100, "method authority path"),
        (8191, "method authority path"),
        (8192, "method authority"),
        (8193, ""),
        (1_000_000, ""),
    ] {
        let answer = says(&host, &format!("describe {length}")).await;
        assert_eq!(answer, taken, "{length}");
    }
    assert_eq!(says(&host, "field 20000").await, "taken");
    // The interface has no error for it, so the library ends the guest.
    let outcome = host.run(task(&["field 40000"])).await;
    let (code, words) = error(&outcome);
    assert_eq!(code, "guest-trapped");
    assert!(words.contains("total size of fields"), "{words}");
}

/// The body of a request that says on which thread it is read. It is empty, or never ends.
struct Upload {
    reader: mpsc::Sender<ThreadId>,
    ends: bool,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let _ = self.reader.send(std::thread::current().id());
        match self.ends {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

/// A guest that answers requests, and its host.
async fn server(requests: u32) -> (Host, HttpGuest) {
    let config = RuntimeConfig {
        concurrent_tasks: 1,
        concurrent_requests: requests,
        ..RuntimeConfig::default()
    };
    let host = Host::with(GuestName::WebServer, config).await;
    let guest = host
        .runtime
        .http_guest(&host.compiled, task(&[]), services());
    (host, guest.unwrap())
}

fn upload(reader: &mpsc::Sender<ThreadId>, ends: bool) -> http::Request<Upload> {
    let reader = reader.clone();
    http::Request::post("http://a.example/echo")
        .body(Upload { reader, ends })
        .unwrap()
}

/// The scheduler has one thread here, which is the test's.
#[tokio::test]
async fn requests_are_answered_apart_from_the_scheduler() {
    let (_host, guest) = server(1).await;
    let (reader, threads) = mpsc::channel();
    let answer = guest.answer(upload(&reader, true)).await.unwrap();
    let echo = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(echo.is_empty(), "{echo:?}");
    drop(reader);
    let threads: Vec<_> = threads.iter().collect();
    assert!(!threads.is_empty(), "it did not read the request");
    assert!(!threads.contains(&std::thread::current().id()));
}

#[tokio::test]
async fn requests_whose_clients_are_slow_hold_no_thread() {
    const SLOW: u32 = 100;
    let (_host, guest) = server(SLOW + 1).await;
    let (reader, threads) = mpsc::channel();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(guest.answer(upload(&reader, false)).await.unwrap());
        while threads.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }
    let answer = guest.answer(upload(&reader, true)).await.unwrap();
    let echo = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(echo.is_empty(), "{echo:?}");
}
