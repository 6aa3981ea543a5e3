//! What a program in the VM tries with the Attestation Agent: to be the VM to a key broker, and to be the host or a
//! component of it to a relying party.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use proplet_agent::AttestationAgent;
use proplet_agent::messages::{GetEvidenceRequest, GetEvidenceResponse};
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use proplet_kbs::{KbsClient, KbsError};
use proplet_results::claims::{Claims, WorkloadClaims};
use proplet_results::verify::{Expectations, verify_bundle};
use proplet_results::{EvidenceBundle, ReceiptKey};
use proplet_testkit::grpc::GrpcClient;
use proplet_testkit::kbs::DevKeyBroker;
use proplet_testkit::tee::{FakeSnp, test_trust};
use proplet_types::Digest;
use prost::Message as _;

use super::support::*;

/// Takes the agent's evidence for its own: asks with whatever report data is needed.
struct Impostor(GrpcClient);

#[async_trait]
impl TeeProvider for Impostor {
    fn tee(&self) -> TeeName {
        TeeName::SNP
    }

    fn attester(&self) -> &str {
        "impostor"
    }

    fn is_hardware(&self) -> bool {
        true
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        let request = GetEvidenceRequest {
            runtime_data: report_data.as_bytes().to_vec(),
        };
        let path = format!("{ATTESTATION_AGENT}/GetEvidence");
        let answer = self.0.call(&path, &request.encode_to_vec()).await;
        let answer = GetEvidenceResponse::decode(answer.unwrap().unwrap().as_slice()).unwrap();
        Ok(Evidence {
            tee: TeeName::SNP,
            evidence: serde_json::from_slice(&answer.evidence).unwrap(),
        })
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}

async fn impostor() -> (Served, Arc<Impostor>) {
    let agent = AttestationAgent::new(Some(Arc::new(FakeSnp::new())), 6000);
    let agent = Served::new(ATTESTATION_AGENT, agent).await;
    let client = GrpcClient::connect(agent.serving.address()).await.unwrap();
    (agent, Arc::new(Impostor(client)))
}

#[tokio::test]
async fn no_handshake_with_a_key_broker() {
    let broker = DevKeyBroker::start().await.unwrap();
    let uri = "kbs:///default/key/module".parse().unwrap();
    broker.set_resource(&uri, &[7; 32]);
    let (_agent, impostor) = impostor().await;
    let refused = KbsClient::new(broker.config(), impostor)
        .unwrap()
        .resource(&uri)
        .await
        .unwrap_err();
    assert!(matches!(refused, KbsError::Rejected { .. }), "{refused}");
    let counts = broker.counts();
    assert!(counts.attest >= 1);
    assert_eq!((counts.attested, counts.released), (0, 0));

    // The host itself, with the same TEE, is let in.
    let host = KbsClient::new(broker.config(), Arc::new(FakeSnp::new())).unwrap();
    assert_eq!(host.resource(&uri).await.unwrap().bytes.as_slice(), [7; 32]);
}

#[tokio::test]
async fn neither_the_host_nor_a_component_of_it() {
    let (_agent, impostor) = impostor().await;
    let key = ReceiptKey::generate().unwrap();
    let settings = Digest::of(b"settings");
    let workload = WorkloadClaims {
        component_digest: Digest::of(b"component"),
        image_digest: None,
        policy_digest: None,
        task_id: "task-1".to_owned(),
    };
    let all = [
        Claims::instance(&key, settings, "fake-snp").unwrap(),
        Claims::workload(b"challenge", &key, settings, "fake-snp", workload).unwrap(),
    ];
    for claims in all {
        let verified = async |tee: &dyn TeeProvider| {
            let bundle = EvidenceBundle::gather(tee, &claims).await.unwrap();
            let expected = Expectations::of_any_measurement();
            verify_bundle(&bundle, &test_trust(), &expected, SystemTime::now())
        };
        let refused = verified(impostor.as_ref()).await.unwrap_err();
        assert!(refused.to_string().contains("claims"), "{refused}");
        verified(&FakeSnp::new()).await.unwrap();
    }
}
