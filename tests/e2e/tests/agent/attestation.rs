//! The Attestation Agent without tokens.

use std::sync::Arc;
use std::time::SystemTime;

use proplet_agent::AttestationAgent;
use proplet_agent::attestation::AgentClaims;
use proplet_agent::messages::{
    BindInitDataRequest, ExtendRuntimeMeasurementResponse, GetEvidenceRequest, GetEvidenceResponse,
    GetTeeTypeResponse, GetTokenRequest, RuntimeMeasurementResult,
};
use proplet_hal::verify::verify;
use proplet_hal::{Evidence, EvidenceError, Flavour, ReportData, TeeName, TeeProvider};
use proplet_testkit::tee::{FakeSnp, FakeTdx, test_trust};

use super::support::*;

async fn agent(tee: Arc<dyn TeeProvider>) -> Served {
    Served::new(ATTESTATION_AGENT, AttestationAgent::new(Some(tee), 6000)).await
}

fn challenge(bytes: &[u8]) -> GetEvidenceRequest {
    GetEvidenceRequest {
        runtime_data: bytes.to_vec(),
    }
}

fn bind(digest: &[u8]) -> BindInitDataRequest {
    BindInitDataRequest {
        digest: digest.to_vec(),
    }
}

#[tokio::test]
async fn evidence_is_of_the_tee_and_over_claims_with_the_challenge() {
    let tees: [(TeeName, Arc<dyn TeeProvider>); 2] = [
        (TeeName::SNP, Arc::new(FakeSnp::new())),
        (TeeName::TDX, Arc::new(FakeTdx::new())),
    ];
    for (tee, provider) in tees {
        let agent = agent(provider).await;
        for bytes in [&[7; 48][..], &[1], &[0; 64]] {
            let answer: GetEvidenceResponse =
                agent.ask("GetEvidence", &challenge(bytes)).await.unwrap();
            let evidence = Evidence {
                tee: tee.clone(),
                evidence: serde_json::from_slice(&answer.evidence).unwrap(),
            };
            let verified = verify(&evidence, &test_trust(), SystemTime::now()).unwrap();
            let expected = AgentClaims::new(bytes).unwrap().report_data().unwrap();
            assert!(verified.binds(&expected));
            assert!(!verified.binds(&ReportData::new(bytes).unwrap()));
        }
        let answer: GetTeeTypeResponse = agent.ask("GetTeeType", &()).await.unwrap();
        assert_eq!(answer.tee, tee.to_string());
    }
}

#[tokio::test]
async fn the_debug_flavour_is_in_the_evidence_for_everybody() {
    for outside in [false, true] {
        let agent = AttestationAgent::new(Some(Arc::new(FakeSnp::new())), 6000);
        let mut agent = agent.of_flavour(Flavour::Debug);
        if outside {
            agent = agent.for_outsiders();
        }
        let agent = Served::new(ATTESTATION_AGENT, agent).await;
        let answer: GetEvidenceResponse = agent.ask("GetEvidence", &challenge(&[7])).await.unwrap();
        let evidence = Evidence {
            tee: TeeName::SNP,
            evidence: serde_json::from_slice(&answer.evidence).unwrap(),
        };
        let verified = verify(&evidence, &test_trust(), SystemTime::now()).unwrap();
        let claims = AgentClaims::new(&[7]).unwrap();
        let hidden = claims.report_data().unwrap();
        assert!(!verified.binds(&hidden), "it passes for a sealed one");
        let claims = claims.with_flavour(Flavour::Debug);
        assert!(verified.binds(&claims.report_data().unwrap()));
    }
}

#[tokio::test]
async fn outsiders_get_evidence_and_no_more() {
    let tee = Arc::new(FakeSnp::new());
    let agent = AttestationAgent::new(Some(tee.clone()), 1).for_outsiders();
    let agent = Served::new(ATTESTATION_AGENT, agent).await;
    let words = "GetEvidence and GetTeeType";
    for method in [
        "GetToken",
        "BindInitData",
        "ExtendRuntimeMeasurement",
        "GetAdditionalEvidence",
        "GetResource",
    ] {
        agent.refused(method, &(), UNIMPLEMENTED, words).await;
    }
    assert_eq!(tee.evidence_calls(), 0);
    let answer: GetTeeTypeResponse = agent.ask("GetTeeType", &()).await.unwrap();
    assert_eq!(answer.tee, "snp");
    let answer: GetEvidenceResponse = agent
        .ask("GetEvidence", &challenge(&[7; 48]))
        .await
        .unwrap();
    let evidence = Evidence {
        tee: TeeName::SNP,
        evidence: serde_json::from_slice(&answer.evidence).unwrap(),
    };
    // Over claims of this kind, so it serves nobody at a key broker.
    let verified = verify(&evidence, &test_trust(), SystemTime::now()).unwrap();
    assert!(verified.binds(&AgentClaims::new(&[7; 48]).unwrap().report_data().unwrap()));
    // The quota is theirs too.
    let words = "evidence_per_minute";
    agent
        .refused("GetEvidence", &challenge(&[7]), RESOURCE_EXHAUSTED, words)
        .await;
}

#[tokio::test]
async fn challenges_of_other_lengths_cost_no_quote() {
    let tee = Arc::new(FakeSnp::new());
    let agent = agent(tee.clone()).await;
    for length in [0, 65, 4096] {
        let message = challenge(&vec![7; length]);
        let words = "a challenge has 1 to 64 bytes";
        agent
            .refused("GetEvidence", &message, INVALID_ARGUMENT, words)
            .await;
    }
    assert_eq!(tee.evidence_calls(), 0);
}

#[tokio::test]
async fn without_a_tee_nothing_is_made_up() {
    let agent = Served::new(ATTESTATION_AGENT, AttestationAgent::new(None, 6000)).await;
    let refused = async |method, message: &[u8]| {
        let refusal = agent.bytes(method, message).await.unwrap_err();
        assert_eq!(refusal.code, FAILED_PRECONDITION, "{refusal:?}");
        assert!(refusal.message.starts_with("no-tee: "), "{refusal:?}");
    };
    use prost::Message as _;
    refused("GetEvidence", &challenge(&[7; 48]).encode_to_vec()).await;
    refused("GetTeeType", &[]).await;
    refused("BindInitData", &bind(&[7; 32]).encode_to_vec()).await;
}

#[tokio::test]
async fn a_tee_that_fails_is_named_with_its_code() {
    for (failure, code, words) in [
        (
            EvidenceError::Busy { tee: TeeName::SNP },
            UNAVAILABLE,
            "tee-busy: ",
        ),
        (
            EvidenceError::Refused {
                tee: TeeName::SNP,
                reason: "firmware".to_owned(),
            },
            FAILED_PRECONDITION,
            "tee-failed: ",
        ),
    ] {
        let tee = Arc::new(FakeSnp::builder().failing(failure).build());
        let agent = agent(tee).await;
        agent
            .refused("GetEvidence", &challenge(&[7; 48]), code, words)
            .await;
    }
}

#[tokio::test]
async fn init_data_is_compared_with_the_vms() {
    let bound = agent(Arc::new(FakeSnp::builder().host_data([7; 32]).build())).await;
    for digest in [&[7; 32][..], &[[7; 32], [9; 32]].concat()] {
        let answer = bound.ask::<()>("BindInitData", &bind(digest)).await;
        answer.unwrap();
    }
    let refused = async |agent: &Served, digest: &[u8], code, words| {
        agent
            .refused("BindInitData", &bind(digest), code, words)
            .await;
    };
    let other = "another init-data document";
    refused(&bound, &[8; 32], FAILED_PRECONDITION, other).await;
    for short in [&[][..], &[7; 31]] {
        refused(&bound, short, INVALID_ARGUMENT, "at least 32 bytes").await;
    }
    let unbound = agent(Arc::new(FakeSnp::new())).await;
    let words = "started without init-data";
    refused(&unbound, &[0; 32], FAILED_PRECONDITION, words).await;
}

#[tokio::test]
async fn nothing_is_extended() {
    let agent = agent(Arc::new(FakeSnp::new())).await;
    let answer: ExtendRuntimeMeasurementResponse =
        agent.ask("ExtendRuntimeMeasurement", &()).await.unwrap();
    let expected = RuntimeMeasurementResult::NotSupported;
    assert_eq!(
        RuntimeMeasurementResult::try_from(answer.result),
        Ok(expected)
    );
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let agent = agent(Arc::new(FakeSnp::new())).await;
    for (method, words) in [
        ("GetAdditionalEvidence", "no other device"),
        ("GetAdditionalTees", "no other device"),
        ("UpdateConfiguration", "there are GetEvidence"),
        ("CheckInitData", "there are GetEvidence"),
        ("getevidence", "there are GetEvidence"),
        ("", "there are GetEvidence"),
    ] {
        agent.refused(method, &(), UNIMPLEMENTED, words).await;
    }
    for path in [
        "/keyprovider.KeyProviderService/UnWrapKey",
        "/api.GetResourceService/GetResource",
        "/attestation_agent/GetEvidence",
        "/GetEvidence",
        "/",
    ] {
        let refusal = agent.client.call(path, &[]).await.unwrap().unwrap_err();
        assert_eq!(refusal.code, UNIMPLEMENTED, "{path}");
        assert!(refusal.message.contains("only the service"), "{refusal:?}");
    }
}

#[tokio::test]
async fn tokens_of_other_kinds_are_refused_by_name() {
    let tee = Arc::new(FakeSnp::new());
    let agent = agent(tee.clone()).await;
    let token = |kind: &str| GetTokenRequest {
        token_type: kind.to_owned(),
    };
    for (kind, code, words) in [
        (
            "kbs",
            PERMISSION_DENIED,
            "tokens of type kbs are not given out",
        ),
        ("", INVALID_ARGUMENT, "there is coco_as"),
        ("KBS", INVALID_ARGUMENT, "there is coco_as"),
        (
            "coco_as",
            FAILED_PRECONDITION,
            "[agent] attestation_service",
        ),
    ] {
        agent.refused("GetToken", &token(kind), code, words).await;
    }
    assert_eq!(tee.evidence_calls(), 0);
}
