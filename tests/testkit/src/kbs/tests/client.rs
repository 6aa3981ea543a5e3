//! The real client with fake TEEs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proplet_hal::TeeProvider;
use proplet_hal::init_data::{DigestAlgorithm, InitData};
use proplet_hal::reference_values::ReferenceValues;
use proplet_hal::verify::TrustPolicy;
use proplet_kbs::{Failure, KbsClient, KbsConfig, KbsError};
use proplet_types::ResourceUri;

use crate::kbs::{Counts, DevKeyBroker, DevKeyBrokerBuilder, Endpoint, Fault, Policy, TestClock};
use crate::tee::{FakeSnp, FakeTdx, Sample, Tampering, TcbStatus, test_reference_values};

fn uri() -> ResourceUri {
    "kbs:///default/key/one".parse().unwrap()
}

async fn started(builder: DevKeyBrokerBuilder) -> DevKeyBroker {
    let broker = builder.start().await.unwrap();
    broker.set_resource(&uri(), b"the resource");
    broker
}

/// Settings that leave no time for a second try.
fn impatient(broker: &DevKeyBroker) -> KbsConfig {
    let mut config = broker.config();
    config.retry_delay = Duration::from_secs(3600);
    config
}

fn client(broker: &DevKeyBroker, tee: impl TeeProvider) -> KbsClient {
    KbsClient::new(broker.config(), Arc::new(tee)).unwrap()
}

/// The code of what a TEE gets: empty for the resource.
async fn outcome(broker: &DevKeyBroker, tee: impl TeeProvider) -> &'static str {
    match client(broker, tee).resource(&uri()).await {
        Ok(resource) => {
            assert_eq!(resource.bytes.as_slice(), b"the resource");
            ""
        }
        Err(error) => error.code().as_str(),
    }
}

#[tokio::test]
async fn a_fake_tee_gets_what_is_there_and_nothing_else() {
    let broker = started(DevKeyBroker::builder()).await;
    let client = client(&broker, FakeSnp::new());
    assert_eq!(
        client.resource(&uri()).await.unwrap().bytes.as_slice(),
        b"the resource"
    );
    let missing = "kbs:///default/key/two".parse().unwrap();
    assert_eq!(
        client.resource(&missing).await.unwrap_err().code(),
        "kbs-not-found"
    );
    let counts = Counts {
        auth: 1,
        attest: 1,
        attested: 1,
        resources: 2,
        released: 1,
        admin: 0,
        passports: 0,
    };
    assert_eq!(
        broker.counts(),
        counts,
        "no blind request, and no second attestation"
    );
}

#[tokio::test]
async fn sample_evidence_opens_nothing_unless_that_is_said() {
    let strict = started(DevKeyBroker::builder()).await;
    assert_eq!(
        outcome(&strict, Sample::new()).await,
        "kbs-evidence-rejected"
    );
    let accepting = started(DevKeyBroker::builder().accept_sample()).await;
    assert_eq!(outcome(&accepting, Sample::new()).await, "kbs-denied");
    assert_eq!(outcome(&accepting, FakeSnp::new()).await, "");
    accepting.set_policy(Policy::AllowAll);
    assert_eq!(outcome(&accepting, Sample::new()).await, "");
    accepting.set_policy(Policy::DenyAll);
    assert_eq!(outcome(&accepting, FakeSnp::new()).await, "kbs-denied");
}

#[tokio::test]
async fn evidence_is_verified() {
    let broker = started(DevKeyBroker::builder()).await;
    for tampering in [Tampering::Tcb, Tampering::ClaimsVlek] {
        let tee = FakeSnp::builder().tampering(tampering).build();
        assert_eq!(
            outcome(&broker, tee).await,
            "kbs-evidence-rejected",
            "{tampering:?}"
        );
    }
    let hardware = TrustPolicy::hardware().unwrap();
    let amd_only = started(DevKeyBroker::builder().trust(hardware)).await;
    assert_eq!(
        outcome(&amd_only, FakeSnp::new()).await,
        "kbs-evidence-rejected"
    );
    assert_eq!(amd_only.counts().attested, 0);
}

#[tokio::test]
async fn policies_see_path_claims_and_status() {
    let good = [7; 48];
    let broker = started(DevKeyBroker::builder().reference_measurement(&good)).await;
    let tee = |measurement| FakeSnp::builder().measurement(measurement).build();

    broker.set_policy(Policy::predicate(|request| request.is_affirming()));
    assert_eq!(outcome(&broker, tee(good)).await, "");
    assert_eq!(outcome(&broker, tee([8; 48])).await, "kbs-denied");

    broker.set_policy(Policy::predicate(move |request| {
        request.tee() == Some("snp") && request.measurement() == Some(&hex::encode([8; 48]))
    }));
    assert_eq!(outcome(&broker, tee(good)).await, "kbs-denied");
    assert_eq!(outcome(&broker, tee([8; 48])).await, "");

    broker.set_policy(Policy::predicate(|request| {
        request.path.starts_with("other/")
    }));
    assert_eq!(outcome(&broker, tee(good)).await, "kbs-denied");
}

#[tokio::test]
async fn reference_values_say_which_evidence_is_good() {
    let good = hex::encode([7; 48]);
    let values = |snp: u8| {
        let text = format!("[snp]\nmeasurements = [\"{good}\"]\n[[snp.minimum_tcb]]\nsnp = {snp}");
        ReferenceValues::from_toml(&text).unwrap()
    };
    let tee = |measurement| FakeSnp::builder().measurement(measurement).build();
    let broker = started(DevKeyBroker::builder().reference_values(&values(24))).await;
    broker.set_policy(Policy::predicate(|request| request.is_affirming()));
    assert_eq!(outcome(&broker, tee([7; 48])).await, "");
    assert_eq!(outcome(&broker, tee([8; 48])).await, "kbs-denied");

    let newer = started(DevKeyBroker::builder().reference_values(&values(25))).await;
    assert_eq!(outcome(&newer, tee([7; 48])).await, "kbs-evidence-rejected");
}

#[tokio::test]
async fn reference_values_hold_for_both_tees() {
    let values = test_reference_values();
    let broker = started(DevKeyBroker::builder().reference_values(&values)).await;
    broker.set_policy(Policy::predicate(|request| request.is_affirming()));
    assert_eq!(outcome(&broker, FakeSnp::new()).await, "");
    assert_eq!(outcome(&broker, FakeTdx::new()).await, "");
    let mut rtmrs = FakeTdx::RTMRS;
    rtmrs[1] = [1; 48];
    let other_kernel = FakeTdx::builder().rtmrs(rtmrs).build();
    assert_eq!(outcome(&broker, other_kernel).await, "kbs-denied");
    let other_image = FakeTdx::builder().measurement([1; 48]).build();
    assert_eq!(outcome(&broker, other_image).await, "kbs-denied");
    let outdated = FakeTdx::builder().status(TcbStatus::OutOfDate).build();
    assert_eq!(outcome(&broker, outdated).await, "kbs-evidence-rejected");

    // A TEE that the values have no table for.
    let snp_alone = ReferenceValues {
        tdx: None,
        ..values
    };
    let broker = started(DevKeyBroker::builder().reference_values(&snp_alone)).await;
    assert_eq!(
        outcome(&broker, FakeTdx::new()).await,
        "kbs-evidence-rejected"
    );
}

#[tokio::test]
async fn init_data_must_be_what_the_vm_was_launched_with() {
    let document = InitData::holding(DigestAlgorithm::Sha256, "a", "b").unwrap();
    let broker = started(DevKeyBroker::builder()).await;
    broker.set_policy(Policy::predicate(|request| {
        let pointer = "/submods/cpu0/ear.veraison.annotated-evidence/init_data_claims/a";
        request
            .claims
            .pointer(pointer)
            .is_some_and(|value| value == "b\n" || value == "b")
    }));
    let result = async |document: Option<&InitData>, host_data| {
        let mut config = broker.config();
        config.init_data = document.cloned();
        let tee = Arc::new(FakeSnp::builder().host_data(host_data).build());
        let client = KbsClient::new(config, tee).unwrap();
        client
            .resource(&uri())
            .await
            .map_or_else(|error| error.code().as_str(), |_| "")
    };
    assert_eq!(result(Some(&document), document.host_data()).await, "");
    assert_eq!(result(None, document.host_data()).await, "kbs-denied");
    // A VM that was started with another document does not ask.
    assert_eq!(result(Some(&document), [1; 32]).await, "kbs-no-evidence");
}

#[tokio::test]
async fn a_lost_session_costs_nothing_and_a_lost_key_one_attestation() {
    let broker = started(DevKeyBroker::builder()).await;
    let client = client(&broker, FakeSnp::new());
    let session = client.resource(&uri()).await.unwrap().session;
    broker.forget_sessions();
    assert_eq!(client.resource(&uri()).await.unwrap().session, session);
    assert_eq!(broker.counts().attest, 1);
    broker.replace_signing_key().unwrap();
    assert_ne!(client.resource(&uri()).await.unwrap().session, session);
    assert_eq!(broker.counts().attest, 2);
}

#[tokio::test]
async fn a_token_that_ended_early_costs_one_attestation() {
    let clock = Arc::new(TestClock::new(SystemTime::now()));
    let broker = started(DevKeyBroker::builder().clock(clock.clone())).await;
    let client = client(&broker, FakeSnp::new());
    let session = client.resource(&uri()).await.unwrap().session;
    clock.advance(Duration::from_secs(299));
    assert_eq!(client.resource(&uri()).await.unwrap().session, session);
    // The broker's time runs ahead of the client's.
    clock.advance(Duration::from_secs(1));
    assert_eq!(client.live_session(), Some(session));
    assert_ne!(client.resource(&uri()).await.unwrap().session, session);
    assert_eq!(broker.counts().attest, 2);
}

#[tokio::test]
async fn the_clock_of_the_broker_may_be_wrong() {
    for now in [
        SystemTime::UNIX_EPOCH,
        SystemTime::now() + Duration::from_secs(1 << 31),
    ] {
        let clock = Arc::new(TestClock::new(now));
        let builder = DevKeyBroker::builder()
            .accept_sample()
            .policy(Policy::AllowAll);
        let broker = started(builder.clock(clock)).await;
        assert_eq!(outcome(&broker, Sample::new()).await, "");
    }
}

#[tokio::test]
async fn faults_are_reported_as_what_they_are() {
    use Endpoint::{Attest, Auth, Resource};
    let unavailable = "kbs-unavailable";
    let protocol = "kbs-protocol";
    let cases = [
        (Auth, Fault::Drop, unavailable),
        (Auth, Fault::Truncate, unavailable),
        (Auth, Fault::Silence, unavailable),
        (Auth, Fault::Status(500), unavailable),
        (Auth, Fault::Status(404), unavailable),
        (Auth, Fault::Status(403), protocol),
        (Auth, Fault::Garbage, protocol),
        (Auth, Fault::Oversize(1 << 20), protocol),
        (
            Auth,
            Fault::Redirect("http://127.0.0.1:1/".to_owned()),
            protocol,
        ),
        (Attest, Fault::Drop, unavailable),
        (Attest, Fault::Status(503), unavailable),
        (Attest, Fault::Status(413), unavailable),
        (Attest, Fault::Garbage, protocol),
        (Attest, Fault::Oversize(2 << 20), protocol),
        (Attest, Fault::Oversize(16), protocol),
        (Resource, Fault::Drop, unavailable),
        (Resource, Fault::Truncate, unavailable),
        (Resource, Fault::Status(502), unavailable),
        (Resource, Fault::Garbage, protocol),
        (Resource, Fault::Oversize(4 << 20), "kbs-too-large"),
        (Resource, Fault::Algorithm("RSA1_5"), protocol),
        (Resource, Fault::Algorithm("dir"), protocol),
        (Resource, Fault::Algorithm("ECDH-ES"), protocol),
        (Resource, Fault::Tampered, protocol),
        (Resource, Fault::Refuse("PolicyDeny"), "kbs-denied"),
        (
            Resource,
            Fault::Refuse("TokenVerifierError"),
            "kbs-token-refused",
        ),
    ];
    let broker = started(DevKeyBroker::builder()).await;
    for (endpoint, fault, code) in cases {
        broker.inject(endpoint, fault.clone());
        let mut config = impatient(&broker);
        if fault == Fault::Silence {
            config.timeout = Duration::from_millis(100);
        }
        let client = KbsClient::new(config, Arc::new(FakeSnp::new())).unwrap();
        let error = client.resource(&uri()).await.unwrap_err();
        assert_eq!(error.code(), code, "{endpoint:?} {fault:?}: {error}");
        broker.heal();
        assert_eq!(outcome(&broker, FakeSnp::new()).await, "");
    }
}

#[tokio::test]
async fn trouble_that_passes_is_waited_out() {
    let broker = started(DevKeyBroker::builder()).await;
    for endpoint in [Endpoint::Auth, Endpoint::Attest, Endpoint::Resource] {
        broker.inject_times(endpoint, Fault::Drop, 2);
        broker.inject_times(endpoint, Fault::Status(503), 1);
    }
    assert_eq!(outcome(&broker, FakeSnp::new()).await, "");
    let Counts {
        auth,
        attest,
        attested,
        resources,
        ..
    } = broker.counts();
    assert_eq!((auth, attest, attested, resources), (4, 4, 1, 4));
}

#[tokio::test]
async fn an_answer_that_got_lost_is_asked_for_again_under_the_same_session() {
    let broker = started(DevKeyBroker::builder()).await;
    broker.inject_times(Endpoint::Attest, Fault::Truncate, 1);
    let tee = Arc::new(FakeSnp::new());
    let client = KbsClient::new(broker.config(), tee.clone()).unwrap();
    client.resource(&uri()).await.unwrap();
    // The broker had accepted the evidence; it gives the same token again.
    let Counts {
        auth,
        attest,
        attested,
        ..
    } = broker.counts();
    assert_eq!((auth, attest, attested, tee.evidence_calls()), (1, 2, 1, 1));
}

#[tokio::test]
async fn a_broker_that_stopped_is_gone() {
    let broker = started(DevKeyBroker::builder()).await;
    let client = KbsClient::new(impatient(&broker), Arc::new(FakeSnp::new())).unwrap();
    client.resource(&uri()).await.unwrap();
    broker.inject(Endpoint::Resource, Fault::Silence);
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { client.resource(&uri()).await }
    });
    tokio::task::yield_now().await;
    broker.shutdown().await;
    assert_eq!(
        hanging.await.unwrap().unwrap_err().code(),
        "kbs-unavailable"
    );
    let error = client.resource(&uri()).await.unwrap_err();
    assert!(
        matches!(
            error,
            KbsError::Unavailable {
                failure: Failure::Connect,
                ..
            }
        ),
        "{error}"
    );
}
