//! One handshake for all who need it at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use proplet_types::ResourceUri;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::server::{Amiable, Reply, Seen, Server, challenge};
use super::{Sample, config, sample};
use crate::{Failure, KbsClient, KbsError};

fn uri() -> ResourceUri {
    "kbs:///default/key/one".parse().unwrap()
}

async fn amiable(seconds: u64) -> Server {
    let kbs = Amiable::lasting(seconds);
    Server::start(move |seen| kbs.answer(seen)).await
}

fn client(server: &Server) -> KbsClient {
    KbsClient::new(config(&server.url), sample()).unwrap()
}

/// A TEE that gives no evidence before it is let.
struct Held {
    gate: Semaphore,
    sample: Sample,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            sample: Sample::default(),
        })
    }

    fn evidences(&self) -> usize {
        self.sample.evidences.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TeeProvider for Held {
    fn tee(&self) -> TeeName {
        self.sample.tee()
    }

    fn attester(&self) -> &str {
        "held"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        self.gate.acquire().await.unwrap().forget();
        self.sample.evidence(report_data).await
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}

#[tokio::test]
async fn the_handshake_comes_first() {
    let server = amiable(300).await;
    let client = client(&server);
    assert_eq!(client.live_session(), None);
    let resource = client.resource(&uri()).await.unwrap();
    assert_eq!(resource.bytes.as_slice(), b"the resource");
    let asked: Vec<_> = server
        .log()
        .iter()
        .map(|seen| seen.endpoint().to_owned())
        .collect();
    assert_eq!(asked, ["auth", "attest", "resource/default/key/one"]);
    assert_eq!(
        server.log()[2].header("cookie"),
        Some("kbs-session-id=c00c1e")
    );
    assert_eq!(server.log()[2].header("authorization"), None);
    assert_eq!(client.session().await.unwrap(), resource.session);
    assert_eq!(client.live_session(), Some(resource.session));
    assert_eq!(server.log().len(), 3);
}

#[tokio::test]
async fn many_callers_share_one_handshake() {
    let server = amiable(300).await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url), tee.clone()).unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        callers.spawn(async move { client.resource(&uri()).await.unwrap().session });
    }
    // Nobody gets past the attester before everybody is waiting for it.
    tokio::task::yield_now().await;
    tee.gate.add_permits(1);
    let sessions = callers.join_all().await;
    assert_eq!(sessions.len(), 50);
    assert!(
        sessions
            .iter()
            .all(|session| Some(*session) == client.live_session())
    );
    let counts = [
        server.count("auth"),
        server.count("attest"),
        server.count("resource"),
    ];
    assert_eq!(counts, [1, 1, 50]);
    assert_eq!(tee.evidences(), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_takes_nothing_away() {
    let server = amiable(300).await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url), tee.clone()).unwrap();
    let spawn = || {
        let client = client.clone();
        tokio::spawn(async move { client.session().await })
    };
    // The first begins the handshake; it is gone before the evidence is there.
    let first = spawn();
    tokio::task::yield_now().await;
    let second = spawn();
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    tee.gate.add_permits(1);
    let session = second.await.unwrap().unwrap();
    assert_eq!(client.live_session(), Some(session));
    assert_eq!((server.count("auth"), tee.evidences()), (1, 1));
}

#[tokio::test]
async fn a_handshake_that_nobody_waits_for_still_counts() {
    let server = amiable(300).await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url), tee.clone()).unwrap();
    let only = tokio::spawn({
        let client = client.clone();
        async move { client.session().await }
    });
    tokio::task::yield_now().await;
    only.abort();
    let _ = only.await;
    tee.gate.add_permits(1);
    client.session().await.unwrap();
    assert_eq!((server.count("auth"), tee.evidences()), (1, 1));
}

#[tokio::test]
async fn all_callers_are_told_how_a_handshake_failed() {
    let refusing = |seen: &Seen| match seen.endpoint() {
        "auth" => challenge(),
        _ => Reply::error("AttestationError"),
    };
    let server = Server::start(refusing).await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url), tee.clone()).unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let client = client.clone();
        callers.spawn(async move { client.session().await.unwrap_err() });
    }
    tokio::task::yield_now().await;
    tee.gate.add_permits(1);
    for error in callers.join_all().await {
        assert_eq!(
            error,
            KbsError::Rejected {
                detail: "words".to_owned()
            }
        );
    }
    assert_eq!((server.count("auth"), server.count("attest")), (1, 1));
    // A failure is not kept: who asks later tries anew.
    tee.gate.add_permits(1);
    assert!(client.session().await.is_err());
    assert_eq!(server.count("auth"), 2);
}

#[tokio::test]
async fn who_joined_late_tries_once_more_when_the_kbs_was_away() {
    let kbs = Amiable::lasting(300);
    let attested = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.endpoint() {
        "attest" if attested.fetch_add(1, Ordering::SeqCst) == 0 => Reply::new(404, "rebuilding"),
        _ => kbs.answer(seen),
    })
    .await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url), tee.clone()).unwrap();
    let spawn = || {
        let client = client.clone();
        tokio::spawn(async move { client.session().await })
    };
    let first = spawn();
    tokio::task::yield_now().await;
    let late = [spawn(), spawn(), spawn()];
    tokio::task::yield_now().await;
    tee.gate.add_permits(2);
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "kbs-unavailable");
    for caller in late {
        let session = caller.await.unwrap().unwrap();
        assert_eq!(Some(session), client.live_session());
    }
    assert_eq!((server.count("auth"), tee.evidences()), (2, 2));
}

/// A TEE whose driver panics.
struct Panicking;

#[async_trait]
impl TeeProvider for Panicking {
    fn tee(&self) -> TeeName {
        "sample".parse().unwrap()
    }

    fn attester(&self) -> &str {
        "panicking"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, _: &ReportData) -> Result<Evidence, EvidenceError> {
        panic!("a driver bug");
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_panic_in_the_handshake_reaches_the_callers_as_an_error() {
    let server = amiable(300).await;
    let client = KbsClient::new(config(&server.url), Arc::new(Panicking)).unwrap();
    for round in 1..=2 {
        assert_eq!(
            client.session().await.unwrap_err().code(),
            "kbs-no-evidence"
        );
        assert_eq!(server.count("auth"), round, "the next call begins anew");
    }
}

#[tokio::test]
async fn the_deadline_bounds_an_attester_that_hangs() {
    let server = amiable(300).await;
    let mut config = config(&server.url);
    config.timeout = Duration::from_millis(50);
    let client = KbsClient::new(config, Held::new()).unwrap();
    let error = client.session().await.unwrap_err();
    assert!(
        matches!(
            error,
            KbsError::Unavailable {
                failure: Failure::Timeout,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn evidence_of_another_tee_is_not_sent() {
    struct Confused;
    #[async_trait]
    impl TeeProvider for Confused {
        fn tee(&self) -> TeeName {
            "snp".parse().unwrap()
        }
        fn attester(&self) -> &str {
            "confused"
        }
        fn is_hardware(&self) -> bool {
            false
        }
        async fn evidence(&self, data: &ReportData) -> Result<Evidence, EvidenceError> {
            Sample::default().evidence(data).await
        }
        async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
            Ok(None)
        }
    }
    let server = amiable(300).await;
    let client = KbsClient::new(config(&server.url), Arc::new(Confused)).unwrap();
    assert_eq!(
        client.session().await.unwrap_err().code(),
        "kbs-no-evidence"
    );
    assert_eq!(server.count("attest"), 0);
}

#[tokio::test]
async fn init_data_goes_with_the_evidence() {
    let server = amiable(300).await;
    let mut config = config(&server.url);
    config.init_data_toml = Some("version = \"0.1.0\"\n".to_owned());
    KbsClient::new(config, sample())
        .unwrap()
        .session()
        .await
        .unwrap();
    assert_eq!(
        server.log()[1].json()["init-data"],
        json!({ "format": "toml", "body": "version = \"0.1.0\"\n" })
    );
}
