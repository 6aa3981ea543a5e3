//! What is asked for is on record, with what became of it.

use std::io::BufReader;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proplet_agent::attestation::{End, Wanted};
use proplet_agent::messages::{GetEvidenceRequest, GetEvidenceResponse, GetTokenRequest};
use proplet_agent::{AttestationAgent, Interface as _, Witness};
use proplet_audit::{Entry, verify::Verifier};
use proplet_hal::{EvidenceError, TeeName, TeeProvider};
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{RunningProplet, Services};
use proplet_testkit::grpc::GrpcClient;
use proplet_testkit::ports::free_address;
use proplet_testkit::tee::FakeSnp;
use proplet_types::Digest;
use prost::Message as _;
use tokio::sync::watch;

use super::support::*;

/// What it was told.
#[derive(Default)]
struct Noted(Mutex<Vec<(Wanted, End)>>);

impl Witness for Noted {
    fn asked(&self, wanted: Wanted, end: End) {
        self.0.lock().unwrap().push((wanted, end));
    }
}

impl Noted {
    fn take(&self) -> Vec<(Wanted, End)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn agent(tee: Option<Arc<dyn TeeProvider>>, per_minute: u32) -> (AttestationAgent, Arc<Noted>) {
    let noted = Arc::new(Noted::default());
    let agent = AttestationAgent::new(tee, per_minute).with_witness(noted.clone());
    (agent, noted)
}

fn challenge(bytes: &[u8]) -> GetEvidenceRequest {
    GetEvidenceRequest {
        runtime_data: bytes.to_vec(),
    }
}

fn evidence(challenge: &[u8]) -> Wanted {
    Wanted::Evidence {
        challenge: Digest::of(challenge),
        outside: false,
    }
}

async fn ask(agent: &AttestationAgent, method: &str, message: &impl prost::Message) -> bool {
    let message = Bytes::from(message.encode_to_vec());
    agent.answer(method, message).await.is_ok()
}

#[tokio::test]
async fn evidence_is_on_record_whether_it_was_given_or_not() {
    let (agent, noted) = self::agent(Some(Arc::new(FakeSnp::new())), 1);
    assert!(!ask(&agent, "GetEvidence", &challenge(b"")).await);
    assert!(ask(&agent, "GetEvidence", &challenge(b"a")).await);
    assert!(!ask(&agent, "GetEvidence", &challenge(b"b")).await);
    let expected = [
        (evidence(b""), End::Refused("malformed")),
        (evidence(b"a"), End::Given),
        (evidence(b"b"), End::Refused("quota")),
    ];
    assert_eq!(noted.take(), expected);
    // What asks for neither evidence nor tokens is nobody's business.
    assert!(ask(&agent, "GetTeeType", &()).await);
    assert_eq!(noted.take(), []);

    let (agent, noted) = self::agent(None, 1);
    assert!(!ask(&agent, "GetEvidence", &challenge(b"a")).await);
    let expected = [(evidence(b"a"), End::Refused("no-tee"))];
    assert_eq!(noted.take(), expected);

    let busy = EvidenceError::Busy { tee: TeeName::SNP };
    let tee = FakeSnp::builder().failing(busy).build();
    let (agent, noted) = self::agent(Some(Arc::new(tee)), 1);
    assert!(!ask(&agent, "GetEvidence", &challenge(b"a")).await);
    let expected = [(evidence(b"a"), End::Failed("tee-busy"))];
    assert_eq!(noted.take(), expected);
}

#[tokio::test]
async fn evidence_that_no_program_waited_for_is_on_record() {
    let (count, mut waiting) = watch::channel(0);
    let (agent, noted) = agent(Some(Arc::new(Hanging(count))), 1);
    let message = challenge(b"a");
    tokio::select! {
        _ = ask(&agent, "GetEvidence", &message) => panic!("there is evidence"),
        asked = waiting.wait_for(|count| *count == 1) => drop(asked.unwrap()),
    }
    let expected = [(evidence(b"a"), End::Failed("interrupted"))];
    assert_eq!(noted.take(), expected);
}

#[tokio::test]
async fn outsiders_are_told_from_programs_of_the_machine() {
    let (agent, noted) = agent(Some(Arc::new(FakeSnp::new())), 1);
    let agent = agent.for_outsiders();
    assert!(ask(&agent, "GetEvidence", &challenge(b"a")).await);
    let wanted = Wanted::Evidence {
        challenge: Digest::of(b"a"),
        outside: true,
    };
    assert_eq!(noted.take(), [(wanted, End::Given)]);
}

#[tokio::test]
async fn tokens_that_are_refused_are_on_record() {
    let (agent, noted) = agent(Some(Arc::new(FakeSnp::new())), 1);
    for (kind, word) in [
        ("kbs", "kbs-token"),
        ("other", "token-type"),
        ("coco_as", "not-configured"),
    ] {
        let token_type = kind.to_owned();
        assert!(!ask(&agent, "GetToken", &GetTokenRequest { token_type }).await);
        assert_eq!(noted.take(), [(Wanted::Token, End::Refused(word))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_has_it_in_its_audit_log() {
    let services = Services::start().await.unwrap();
    let address = free_address().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let auditor = PrivateKey::generate_x25519().unwrap();
    let settings = services.settings(&format!(
        "[confidential]\ntasks = false\n[agent]\nattestation = true\nattestation_address = \"{address}\"\n\
         [audit]\npath = {:?}\nrecipients = [{{ kty = \"OKP\", crv = \"X25519\", x = {} }}]\n",
        folder.path().join("audit"),
        auditor.public().to_jwk()["x"],
    ));
    let proplet = RunningProplet::start(&settings, Some(Arc::new(FakeSnp::new()))).unwrap();
    let alive = "control/proplet/alive";
    services.manager.messages(alive, 1).await.unwrap();
    let client = GrpcClient::connect(address).await.unwrap();
    let path = format!("{ATTESTATION_AGENT}/GetEvidence");
    let message = challenge(b"of a program").encode_to_vec();
    let answer = client.call(&path, &message).await.unwrap().unwrap();
    GetEvidenceResponse::decode(answer.as_slice()).unwrap();
    proplet.stop().await.unwrap();

    let log = std::fs::read(folder.path().join("audit/audit-00000001.jsonl")).unwrap();
    let mut verifier = Verifier::new();
    let mut entries: Vec<Entry> = Vec::new();
    let each = |entry: &Entry| entries.push(entry.clone());
    let reader = BufReader::new(log.as_slice());
    verifier.file("audit-00000001.jsonl", reader, each).unwrap();
    assert!(verifier.finish().is_whole());
    entries.retain(|entry| entry.kind == "agent-evidence");
    let [entry] = entries.as_slice() else {
        panic!("{entries:?}");
    };
    assert_eq!((&entry.code, &entry.task), (&None, &None));
    assert_eq!(entry.about["outside"], false);
    let digest = Digest::of(b"of a program").to_string();
    let opened = entry.open(&auditor).unwrap().unwrap();
    assert_eq!(opened["challenge"], digest);
    assert!(!String::from_utf8_lossy(&log).contains(&digest));
}
