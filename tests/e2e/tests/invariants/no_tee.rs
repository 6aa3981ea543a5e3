//! Invariant 3: no TEE, no secrets.

use std::sync::Arc;

use proplet_hal::{EvidenceError, TeeName, TeeProvider};
use proplet_lab::{RunningProplet, Services};
use proplet_testkit::{
    guests::GuestName,
    kbs::{DevKeyBroker, Policy},
    tee::{FakeSnp, Sample, Tampering},
};
use serde_json::Value;

use crate::support::*;

/// A world whose key broker takes anything for evidence and releases everything.
async fn careless() -> Services {
    let mut services = Services::start().await.unwrap();
    services.key_broker = DevKeyBroker::builder()
        .accept_sample()
        .policy(Policy::AllowAll)
        .start()
        .await
        .unwrap();
    services
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_tee_an_encrypted_task_is_refused_and_nobody_is_asked() {
    let services = careless().await;
    let proplet = RunningProplet::start(&services.settings(""), None).unwrap();
    let scene = Scene::of(services, proplet, Arc::new(FakeSnp::new())).await;
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let registry = scene.services.registry.counts();
    for _ in 0..2 {
        assert_refused(&scene.run(&task(&image, &["x"])).await, "no-tee");
    }
    // Not even a sample attester, which this key broker would take.
    assert_eq!(scene.services.key_broker.counts().auth, 0);
    assert_eq!(scene.services.registry.counts(), registry);
    // A plain task runs, and learns that nothing here can attest.
    let outcome = scene
        .run(&plain_task(&guest(GuestName::HelloAttest).await, "x"))
        .await;
    assert_code(&outcome, "guest-failed");
    assert!(outcome.error.unwrap().contains("no TEE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tee_that_fails_is_not_replaced() {
    let busy = EvidenceError::Busy { tee: TeeName::SNP };
    for (tee, code) in [
        (FakeSnp::builder().failing(busy).build(), "kbs-no-evidence"),
        (
            FakeSnp::builder().tampering(Tampering::Signature).build(),
            "kbs-evidence-rejected",
        ),
    ] {
        let services = careless().await;
        let tee = Arc::new(tee);
        let settings = services.settings("");
        let proplet = RunningProplet::start(&settings, Some(tee.clone())).unwrap();
        let scene = Scene::of(services, proplet, tee).await;
        let (_, image) = scene
            .publish(&guest(GuestName::HelloAttest).await, "")
            .await;
        assert_refused(&scene.run(&task(&image, &["x"])).await, code);
        assert!(scene.tee.evidence_calls() > 0);
        assert_eq!(scene.services.key_broker.counts().attested, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_attester_gets_nothing_from_a_key_broker_with_the_stock_policy() {
    for (accepts, code) in [(false, "kbs-evidence-rejected"), (true, "kbs-denied")] {
        let mut services = Services::start().await.unwrap();
        if accepts {
            let broker = DevKeyBroker::builder().accept_sample().start();
            services.key_broker = broker.await.unwrap();
        }
        let settings = services.settings("");
        let sample = Arc::new(Sample::new());
        let proplet = RunningProplet::start(&settings, Some(sample.clone())).unwrap();
        let scene = Scene::of(services, proplet, Arc::new(FakeSnp::new())).await;
        let (_, image) = scene
            .publish(&guest(GuestName::HelloAttest).await, "")
            .await;
        assert_refused(&scene.run(&task(&image, &["x"])).await, code);
        assert_eq!(scene.services.key_broker.counts().released, 0);
        assert!(sample.evidence_calls() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fake_is_named_wherever_somebody_could_take_it_for_a_tee() {
    let scene = Scene::new().await;
    assert!(!scene.tee.is_hardware());
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let outcome = scene.run(&task(&image, &["x"])).await;
    let opened = scene.open(&outcome);
    let document: Value = serde_json::from_str(&outcome.results).unwrap();
    assert_eq!(document["evidence"]["claims"]["attester"], "fake-snp");
    let workload: Value = serde_json::from_slice(&opened.content).unwrap();
    assert_eq!(workload["claims"]["attester"], "fake-snp");
    assert_eq!(opened.report.receipt.as_ref().unwrap().attester, "fake-snp");
    let report = opened.report.to_string();
    assert!(report.contains("fake-snp"), "{report}");

    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let identity = String::from_utf8(scene.ask(&image, "identity").await).unwrap();
    assert!(identity.contains("is_hardware: false"), "{identity}");
}
