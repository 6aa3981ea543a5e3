//! `GetToken` with an attestation service.

use std::sync::Arc;

use proplet_agent::AttestationAgent;
use proplet_agent::messages::{GetTokenRequest, GetTokenResponse};
use proplet_hal::init_data::DigestAlgorithm;
use proplet_hal::{InitData, TeeProvider};
use proplet_kbs::KbsConfig;
use proplet_kbs::attestation_service::{AttestationService, AttestationServiceError};
use proplet_testkit::kbs::DevAttestationService;
use proplet_testkit::tee::{FakeSnp, Sample, Tampering};
use serde_json::{Value, json};

use super::support::*;

const RUNTIME_DATA: &str = "/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims";
const INIT_DATA: &str = "/submods/cpu0/ear.veraison.annotated-evidence/init_data_claims";

fn client(url: &str) -> AttestationService {
    let mut config = KbsConfig::new(url.parse().unwrap());
    config.allow_http = true;
    AttestationService::new(&config).unwrap()
}

async fn agent(tee: impl TeeProvider, url: &str, init_data: Option<InitData>) -> Served {
    let agent = AttestationAgent::new(Some(Arc::new(tee)), 6000)
        .with_tokens(client(url))
        .with_init_data(init_data);
    Served::new(ATTESTATION_AGENT, agent).await
}

fn coco_as() -> GetTokenRequest {
    GetTokenRequest {
        token_type: "coco_as".to_owned(),
    }
}

async fn claims(agent: &Served, service: &DevAttestationService) -> Value {
    let answer: GetTokenResponse = agent.ask("GetToken", &coco_as()).await.unwrap();
    service
        .claims(std::str::from_utf8(&answer.token).unwrap())
        .unwrap()
}

#[tokio::test]
async fn a_token_says_what_this_vm_is_and_holds_no_key() {
    let service = DevAttestationService::start().await.unwrap();
    let agent = agent(FakeSnp::new(), &service.url(), None).await;
    let (one, two) = (
        claims(&agent, &service).await,
        claims(&agent, &service).await,
    );
    let runtime_data = one.pointer(RUNTIME_DATA).unwrap().as_object().unwrap();
    assert_eq!(runtime_data["kind"], "agent");
    let mut names: Vec<_> = runtime_data.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["eat_nonce", "eat_profile", "kind"]);
    assert!(!one.to_string().contains("tee-pubkey"));
    // Each has a challenge of its own.
    assert_ne!(one.pointer(RUNTIME_DATA), two.pointer(RUNTIME_DATA));
    for request in service.requests() {
        assert_eq!(request["tee"], "snp");
        assert_eq!(request["runtime_data_hash_algorithm"], "sha512");
        assert_eq!(request.get("init_data"), None);
    }
}

#[tokio::test]
async fn init_data_goes_along_where_the_vm_was_started_with_it() {
    let document =
        InitData::holding(DigestAlgorithm::Sha256, "proplet.toml", "[limits]\n").unwrap();
    let service = DevAttestationService::start().await.unwrap();
    let bound = FakeSnp::builder().host_data(document.host_data()).build();
    let bound = agent(bound, &service.url(), Some(document.clone())).await;
    let token = claims(&bound, &service).await;
    let expected = json!({ "proplet.toml": "[limits]\n" });
    assert_eq!(token.pointer(INIT_DATA), Some(&expected));
    for other in [
        FakeSnp::new(),
        FakeSnp::builder().host_data([9; 32]).build(),
    ] {
        let agent = agent(other, &service.url(), Some(document.clone())).await;
        assert_eq!(claims(&agent, &service).await.pointer(INIT_DATA), None);
    }
}

#[tokio::test]
async fn what_the_service_refuses_is_said() {
    let service = DevAttestationService::start().await.unwrap();
    let forged = FakeSnp::builder().tampering(Tampering::Signature).build();
    let words = "attestation-service-refused: ";
    let agent_of_forged = agent(forged, &service.url(), None).await;
    agent_of_forged
        .refused("GetToken", &coco_as(), FAILED_PRECONDITION, words)
        .await;
    let sample = agent(Sample::new(), &service.url(), None).await;
    sample
        .refused("GetToken", &coco_as(), FAILED_PRECONDITION, "status 500")
        .await;

    let good = agent(FakeSnp::new(), &service.url(), None).await;
    for answer in ["", "<html>", "a.b", &"x".repeat(300 * 1024)] {
        service.break_down(answer);
        good.refused("GetToken", &coco_as(), FAILED_PRECONDITION, "is no token")
            .await;
    }
    let nobody = agent(FakeSnp::new(), "http://127.0.0.1:1", None).await;
    let words = "attestation-service-unavailable: ";
    nobody
        .refused("GetToken", &coco_as(), UNAVAILABLE, words)
        .await;
}

#[tokio::test]
async fn claims_with_a_key_are_not_sent() {
    let service = DevAttestationService::start().await.unwrap();
    let evidence = FakeSnp::new().evidence(&[7; 64].into()).await.unwrap();
    let claims = json!({ "nonce": "x", "tee-pubkey": {} });
    let refused = client(&service.url())
        .token(&evidence, claims.as_object().unwrap(), None)
        .await
        .unwrap_err();
    assert_eq!(refused, AttestationServiceError::KeyInClaims);
    assert!(service.requests().is_empty());
}

#[test]
fn addresses_that_cannot_work_are_refused() {
    for url in ["http://as", "ftp://as", "https://me@as"] {
        let refused = AttestationService::new(&KbsConfig::new(url.parse().unwrap()));
        let refused = refused.err().unwrap();
        assert!(
            matches!(refused, AttestationServiceError::Config(_)),
            "{refused}"
        );
        assert_eq!(refused.code(), "kbs-config");
    }
}
