//! Invariant 2: the host composes report data.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider, verify::verify};
use proplet_image::ImageReference;
use proplet_kbs::KbsClient;
use proplet_results::{
    EvidenceBundle, ResultDocument,
    verify::{Expectations, VerifyError, verify_bundle},
};
use proplet_testkit::{
    broker::{Outcome, Task},
    guests::GuestName,
    tee::FakeSnp,
};
use proplet_types::{Check, Digest};
use serde_json::{Map, Value};

use crate::support::*;

/// The claims that a component's evidence has: these and no others.
const MEMBERS: [&str; 10] = [
    "attester",
    "cnf",
    "component_digest",
    "eat_nonce",
    "eat_profile",
    "image_digest",
    "kind",
    "policy_digest",
    "settings_digest",
    "task_id",
];

fn bundle(content: &[u8]) -> EvidenceBundle {
    std::str::from_utf8(content).unwrap().parse().unwrap()
}

/// The report data inside SNP evidence, taken from the report by its place and by no code of ours.
fn report_data(evidence: &Value) -> Vec<u8> {
    let bytes = evidence["attestation_report"]["report_data"].as_array();
    let bytes = bytes.expect("report_data is an array of bytes");
    bytes
        .iter()
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect()
}

fn sha512(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA512, bytes)
        .as_ref()
        .to_vec()
}

async fn attested(
    scene: &Scene,
    image: &ImageReference,
    challenge: &str,
) -> (Task, EvidenceBundle) {
    let task = task(image, &[challenge]);
    let outcome = scene.run(&task).await;
    assert_eq!(outcome.error, None);
    (task, bundle(&scene.open(&outcome).content))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_data_is_the_digest_of_claims_that_the_host_composes() {
    let scene = Scene::new().await;
    let component = guest(GuestName::HelloAttest).await;
    let policy = scene.policy("");
    let (workload, image) = scene.publish_as(&component, &policy, KEY).await;
    let (task, bundle) = attested(&scene, &image, "nonce-of-bob").await;

    let names: Vec<&str> = bundle.claims.keys().map(String::as_str).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, MEMBERS);
    let claim = |name: &str| bundle.claims[name].as_str().unwrap().to_owned();
    assert_eq!(claim("kind"), "workload");
    assert_eq!(claim("eat_nonce"), URL_SAFE_NO_PAD.encode("nonce-of-bob"));
    assert_eq!(
        claim("component_digest"),
        Digest::of(&workload.component).to_string()
    );
    assert_eq!(claim("image_digest"), workload.image_digest().to_string());
    assert_eq!(
        claim("policy_digest"),
        Digest::of(policy.as_bytes()).to_string()
    );
    let settings = scene.services.settings("");
    assert_eq!(
        claim("settings_digest"),
        Digest::of(settings.as_bytes()).to_string()
    );
    assert_eq!(claim("task_id"), task.id);
    assert_eq!(claim("attester"), "fake-snp");

    // Canonical JSON of strings without escapes: sorted members, no space.
    let canonical: Vec<String> = MEMBERS
        .iter()
        .map(|name| format!("{name:?}:{:?}", claim(name)))
        .collect();
    let canonical = format!("{{{}}}", canonical.join(","));
    assert_eq!(report_data(&bundle.evidence), sha512(canonical.as_bytes()));

    let expected = Expectations {
        challenge: Some(b"nonce-of-bob".to_vec()),
        component: Some(Digest::of(&workload.component)),
        task_id: Some(task.id),
        ..Expectations::of_measurements([FakeSnp::MEASUREMENT.to_vec()])
    };
    verify_bundle(&bundle, &trust(), &expected, SystemTime::now()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_chooses_the_challenge_and_nothing_else() {
    let scene = Scene::new().await;
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let (_, honest) = attested(&scene, &image, "a").await;
    for challenge in [
        r#"{"kind":"instance"}"#,
        r#"","kind":"instance","x":""#,
        r#"","tee-pubkey":{"kty":"EC","alg":"ES256"},"x":""#,
        "sha256:0000000000000000000000000000000000000000000000000000000",
    ] {
        let (task, bundle) = attested(&scene, &image, challenge).await;
        let mut expected = honest.claims.clone();
        expected.insert("eat_nonce".into(), URL_SAFE_NO_PAD.encode(challenge).into());
        expected.insert("task_id".into(), task.id.into());
        assert_eq!(bundle.claims, expected, "{challenge}");
    }
    let long = "x".repeat(65);
    let failure = scene.ask_in_vain(&image, &long, "guest-failed").await;
    assert!(failure.error.contains("65 bytes"), "{}", failure.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_components_cannot_speak_for_each_other() {
    let scene = Scene::new().await;
    let component = guest(GuestName::HelloAttest).await;
    let (honest, _) = scene.publish(&component, "").await;
    let (_, other) = scene.publish(&component, "exports = [\"run\"]").await;
    let (_, bundle) = attested(&scene, &other, "nonce").await;
    let expected = Expectations {
        component: Some(Digest::of(&honest.component)),
        ..Expectations::of_any_measurement()
    };
    let refused = verify_bundle(&bundle, &trust(), &expected, SystemTime::now());
    assert!(matches!(
        refused,
        Err(VerifyError::Unexpected {
            check: Check::Component,
            ..
        })
    ));
    // Claims that were exchanged do not fit the signed report data.
    let mut forged = bundle;
    let honest = Digest::of(&honest.component).to_string();
    forged
        .claims
        .insert("component_digest".into(), honest.into());
    let refused = verify_bundle(&forged, &trust(), &expected, SystemTime::now());
    assert_eq!(refused.unwrap_err(), VerifyError::ReportData);
}

/// Somebody at the key broker who has no TEE and gets its evidence out of a component.
struct Puppeteer {
    scene: Scene,
    image: ImageReference,
}

#[async_trait]
impl TeeProvider for Puppeteer {
    fn tee(&self) -> TeeName {
        TeeName::SNP
    }

    fn attester(&self) -> &str {
        "puppeteer"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, data: &ReportData) -> Result<Evidence, EvidenceError> {
        let digits = hex::encode(data.as_bytes());
        let content = self
            .scene
            .ask(&self.image, &format!("attest {digits}"))
            .await;
        let evidence = bundle(&content).to_evidence();
        // It is good evidence, of this very TEE; it is just not over these data.
        let verified = verify(&evidence, &trust(), SystemTime::now()).unwrap();
        assert!(!verified.binds(data));
        Ok(evidence)
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_components_evidence_opens_nothing_at_the_key_broker() {
    let scene = Scene::new().await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let config = scene.services.key_broker.config();
    let puppeteer = Arc::new(Puppeteer { scene, image });
    let client = KbsClient::new(config, puppeteer.clone()).unwrap();
    let error = client.resource(&uri(SECRET)).await.unwrap_err();
    assert_eq!(error.code(), "kbs-evidence-rejected", "{error}");
    // The key of the component, which the host itself was given, and nothing more.
    assert_eq!(puppeteer.scene.services.key_broker.counts().released, 1);
}

fn document(outcome: &Outcome) -> Map<String, Value> {
    serde_json::from_str(&outcome.results).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_rest_on_evidence_of_the_instance() {
    let scene = Scene::new().await;
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let first = scene.run(&task(&image, &["nonce"])).await;
    let second = scene.run(&task(&image, &["nonce"])).await;
    let report = scene.open(&first).report;
    let claims = document(&first)["evidence"]["claims"].clone();
    assert_eq!(claims["kind"], "instance");
    assert!(claims.get("component_digest").is_none() && claims.get("tee-pubkey").is_none());
    assert_eq!(
        document(&second)["evidence"]["claims"],
        claims,
        "one quote per session"
    );
    let receipt = report.receipt.unwrap();
    let evidence: EvidenceBundle = document(&first)["evidence"].to_string().parse().unwrap();
    assert_eq!(receipt.evidence_digest, evidence.digest().unwrap());
    assert_eq!(report.claims.unwrap().cnf, claims["cnf"].as_str().unwrap());
    // The key broker's handshake, the instance, and one for each of the two components.
    assert_eq!(scene.tee.evidence_calls(), 4);

    // What the component got cannot stand where the host's own evidence must.
    let mut forged = document(&first);
    let own = bundle(&scene.open(&first).content);
    forged.insert("evidence".into(), serde_json::to_value(&own).unwrap());
    let forged = ResultDocument::from_text(&Value::from(forged).to_string()).unwrap();
    let refused = proplet_results::verify::verify(
        &forged,
        &trust(),
        &Expectations::of_any_measurement(),
        SystemTime::now(),
    );
    assert!(matches!(refused, Err(VerifyError::Kind(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_of_a_task_has_a_quota() {
    let scene = Scene::with("[limits]\nevidence_quota = 3\n").await;
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene.publish(&component, "").await;
    scene.ask(&image, "evidence 3").await;
    let before = scene.tee.evidence_calls();
    for _ in 0..2 {
        let failure = scene
            .ask_in_vain(&image, "evidence 4", "guest-failed")
            .await;
        assert!(failure.error.contains("3 pieces"), "{}", failure.error);
    }
    assert_eq!(
        scene.tee.evidence_calls() - before,
        6,
        "each task has its own"
    );
    // A policy lowers it and does not raise it.
    for (quota, allowed) in [(1, 1), (9, 3), (0, 0)] {
        let more = format!("[limits]\nevidence_quota = {quota}\n");
        let (_, image) = scene.publish(&component, &more).await;
        let before = scene.tee.evidence_calls();
        scene
            .ask_in_vain(&image, "evidence 9", "guest-failed")
            .await;
        assert_eq!(scene.tee.evidence_calls() - before, allowed, "{quota}");
    }
}
