//! TDX evidence at the key broker.

use std::sync::{Arc, Mutex};

use proplet_hal::InitData;
use proplet_kbs::KbsClient;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::kbs::{DevKeyBroker, Policy};
use crate::tee::{EventLog, FakeTdx, FakeTdxBuilder, QuoteTampering, TcbStatus, TdxPki};

const DOCUMENT: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\na = \"b\"\n";

/// The code of what a fake gets, empty for the resource; with or without the document as init-data.
async fn outcome(broker: &DevKeyBroker, tee: FakeTdxBuilder, document: Option<&str>) -> String {
    let uri = "kbs:///default/key/one".parse().unwrap();
    broker.set_resource(&uri, b"the resource");
    let mut config = broker.config();
    config.init_data = document.map(|text| InitData::parse(text).unwrap());
    let client = KbsClient::new(config, Arc::new(tee.build())).unwrap();
    match client.resource(&uri).await {
        Ok(resource) => {
            assert_eq!(resource.bytes.as_slice(), b"the resource");
            String::new()
        }
        Err(error) => error.code().to_string(),
    }
}

/// The claims that a policy sees of a fake.
async fn claims(tee: FakeTdxBuilder, document: Option<&str>) -> Value {
    let seen = Arc::new(Mutex::new(Value::Null));
    let kept = seen.clone();
    let policy = Policy::predicate(move |request| {
        assert_eq!(request.tee(), Some("tdx"));
        assert_eq!(
            request.measurement().map(str::len),
            Some(96),
            "MRTD in hexadecimal"
        );
        *kept.lock().unwrap() = request.claims.clone();
        true
    });
    let broker = DevKeyBroker::builder().policy(policy).start().await;
    assert_eq!(outcome(&broker.unwrap(), tee, document).await, "");
    let claims = seen.lock().unwrap();
    let pointer = "/submods/cpu0/ear.veraison.annotated-evidence";
    claims.pointer(pointer).unwrap().clone()
}

#[tokio::test]
async fn quotes_under_the_test_root_open_and_no_others() {
    let broker = DevKeyBroker::start().await.unwrap();
    assert_eq!(outcome(&broker, FakeTdx::builder(), None).await, "");
    let logged = FakeTdx::builder().event_log(EventLog::of_a_boot());
    assert_eq!(outcome(&broker, logged.clone(), None).await, "");
    let strangers = Arc::new(TdxPki::strangers());
    for refused in [
        FakeTdx::builder().tampering(QuoteTampering::Signature),
        FakeTdx::builder().tampering(QuoteTampering::OtherReportData),
        FakeTdx::builder().status(TcbStatus::OutOfDate),
        FakeTdx::builder().pki(strangers),
        logged.rtmrs([[1; 48]; 4]),
    ] {
        let code = outcome(&broker, refused.clone(), None).await;
        assert_eq!(code, "kbs-evidence-rejected", "{refused:?}");
    }
}

#[tokio::test]
async fn init_data_must_be_what_mrconfigid_holds() {
    let broker = DevKeyBroker::start().await.unwrap();
    let bound = digest(&SHA256, DOCUMENT.as_bytes());
    let tee = FakeTdx::builder().init_data(bound.as_ref());
    let other = DOCUMENT.replace("\"b\"", "\"c\"");
    assert_eq!(outcome(&broker, tee.clone(), Some(DOCUMENT)).await, "");
    // A VM that was started with another document does not ask; one that was started with none keeps the
    // document to itself.
    assert_eq!(outcome(&broker, tee, Some(&other)).await, "kbs-no-evidence");
    assert_eq!(
        outcome(&broker, FakeTdx::builder(), Some(DOCUMENT)).await,
        ""
    );
}

#[tokio::test]
async fn claims_have_trustees_form() {
    let bound = digest(&SHA256, DOCUMENT.as_bytes());
    let tee = FakeTdx::builder()
        .init_data(bound.as_ref())
        .event_log(EventLog::of_a_boot());
    let claims = claims(tee, Some(DOCUMENT)).await;
    let text = |pointer: &str| claims.pointer(pointer).and_then(Value::as_str).unwrap();
    assert_eq!(
        text("/tdx/quote/body/mr_td"),
        hex::encode(FakeTdx::MEASUREMENT)
    );
    assert_eq!(
        text("/tdx/quote/body/rtmr_1"),
        hex::encode(EventLog::of_a_boot().rtmrs()[1])
    );
    assert_eq!(text("/tdx/quote/header/version"), "0400");
    assert_eq!(text("/tdx/quote/body/td_attributes"), "0000001000000000");
    assert_eq!(text("/tdx/tcb_status"), "UpToDate");
    assert_eq!(claims["tdx"]["td_attributes"]["debug"], false);
    assert_eq!(claims["tdx"]["td_attributes"]["septve_disable"], true);
    assert_eq!(claims["init_data_claims"]["a"], "b");
    assert!(text("/init_data").starts_with(&hex::encode(bound)));
}
