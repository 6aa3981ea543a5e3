//! One handshake for all who need it at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proplet_hal::init_data::{DigestAlgorithm, InitData};
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use proplet_testkit::kbs::{DevKeyBroker, Reply};
use proplet_testkit::tee::Sample;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{RESOURCE, amiable, client, config, count, counts, refusal, rewriting, started, uri};
use crate::{Failure, KbsClient, KbsError};

async fn lasting(seconds: u64) -> DevKeyBroker {
    started(amiable(seconds)).await
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
            sample: Sample::new(),
        })
    }

    fn evidences(&self) -> u64 {
        self.sample.evidence_calls()
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
    let server = lasting(300).await;
    let client = client(&server);
    assert_eq!(client.live_session(), None);
    let resource = client.resource(&uri()).await.unwrap();
    assert_eq!(resource.bytes.as_slice(), RESOURCE);
    let asked: Vec<_> = server
        .requests()
        .iter()
        .map(|asked| asked.endpoint().to_owned())
        .collect();
    assert_eq!(asked, ["auth", "attest", "resource/default/key/one"]);
    let cookie = server.requests()[1].header("cookie").map(str::to_owned);
    assert!(cookie.as_ref().unwrap().starts_with("kbs-session-id="));
    assert_eq!(server.requests()[2].header("cookie"), cookie.as_deref());
    assert_eq!(server.requests()[2].header("authorization"), None);
    assert_eq!(client.session().await.unwrap(), resource.session);
    assert_eq!(client.live_session(), Some(resource.session));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn many_callers_share_one_handshake() {
    let server = lasting(300).await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url()), tee.clone()).unwrap();
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
    assert_eq!(counts(&server), [1, 1, 50]);
    assert_eq!(tee.evidences(), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_takes_nothing_away() {
    let server = lasting(300).await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url()), tee.clone()).unwrap();
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
    assert_eq!((count(&server, "auth"), tee.evidences()), (1, 1));
}

#[tokio::test]
async fn a_handshake_that_nobody_waits_for_still_counts() {
    let server = lasting(300).await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url()), tee.clone()).unwrap();
    let only = tokio::spawn({
        let client = client.clone();
        async move { client.session().await }
    });
    tokio::task::yield_now().await;
    only.abort();
    let _ = only.await;
    tee.gate.add_permits(1);
    client.session().await.unwrap();
    assert_eq!((count(&server, "auth"), tee.evidences()), (1, 1));
}

#[tokio::test]
async fn all_callers_are_told_how_a_handshake_failed() {
    let server = rewriting(|asked, good| match asked.endpoint() {
        "auth" => good,
        _ => refusal("AttestationError"),
    })
    .await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url()), tee.clone()).unwrap();
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
    assert_eq!((count(&server, "auth"), count(&server, "attest")), (1, 1));
    // A failure is not kept: who asks later tries anew.
    tee.gate.add_permits(1);
    assert!(client.session().await.is_err());
    assert_eq!(count(&server, "auth"), 2);
}

#[tokio::test]
async fn who_joined_late_tries_once_more_when_the_kbs_was_away() {
    let attested = AtomicUsize::new(0);
    let server = rewriting(move |asked, good| match asked.endpoint() {
        "attest" if attested.fetch_add(1, Ordering::SeqCst) == 0 => Reply::new(404, "rebuilding"),
        _ => good,
    })
    .await;
    let tee = Held::new();
    let client = KbsClient::new(config(&server.url()), tee.clone()).unwrap();
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
    assert_eq!((count(&server, "auth"), tee.evidences()), (2, 2));
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
    let server = lasting(300).await;
    let client = KbsClient::new(config(&server.url()), Arc::new(Panicking)).unwrap();
    for round in 1..=2 {
        assert_eq!(
            client.session().await.unwrap_err().code(),
            "kbs-no-evidence"
        );
        assert_eq!(count(&server, "auth"), round, "the next call begins anew");
    }
}

#[tokio::test]
async fn the_deadline_bounds_an_attester_that_hangs() {
    let server = lasting(300).await;
    let mut config = config(&server.url());
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
            Sample::new().evidence(data).await
        }
        async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
            Ok(None)
        }
    }
    let server = lasting(300).await;
    let client = KbsClient::new(config(&server.url()), Arc::new(Confused)).unwrap();
    assert_eq!(
        client.session().await.unwrap_err().code(),
        "kbs-no-evidence"
    );
    assert_eq!(count(&server, "attest"), 0);
}

#[tokio::test]
async fn init_data_goes_with_the_evidence_where_the_vm_was_started_with_it() {
    /// Sample evidence of a machine that reports this field.
    struct Launched(Option<Vec<u8>>);

    #[async_trait]
    impl TeeProvider for Launched {
        fn tee(&self) -> TeeName {
            TeeName::SAMPLE
        }
        fn attester(&self) -> &str {
            "launched"
        }
        fn is_hardware(&self) -> bool {
            false
        }
        async fn evidence(&self, data: &ReportData) -> Result<Evidence, EvidenceError> {
            Sample::default().evidence(data).await
        }
        async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
            Ok(self.0.clone())
        }
    }
    let init_data = InitData::holding(DigestAlgorithm::Sha384, "a", "b").unwrap();
    let sent = json!({ "format": "toml", "body": init_data.text() });
    for (field, expected) in [
        (Some(init_data.host_data().to_vec()), Some(&sent)),
        (Some(init_data.mrconfigid().to_vec()), Some(&sent)),
        (None, None),
    ] {
        let server = lasting(300).await;
        let mut config = config(&server.url());
        config.init_data = Some(init_data.clone());
        let client = KbsClient::new(config, Arc::new(Launched(field))).unwrap();
        client.session().await.unwrap();
        assert_eq!(
            server.requests()[1]
                .json()
                .get("init-data")
                .filter(|sent| !sent.is_null()),
            expected
        );
    }
    let server = lasting(300).await;
    let mut config = config(&server.url());
    config.init_data = Some(init_data);
    let other = Arc::new(Launched(Some(vec![1; 48])));
    let client = KbsClient::new(config, other).unwrap();
    let error = client.session().await.unwrap_err();
    assert_eq!(error.code(), "kbs-no-evidence");
    assert_eq!(count(&server, "attest"), 0);
}
