//! The attestation service by itself: `POST /attestation`, as Trustee's REST interface answers it.
//!
//! It verifies each piece of evidence with the real verifier. Runtime data that comes as an object is hashed
//! here, as canonical JSON, and shown in the token; raw report data is compared as it is and shows nothing;
//! where there is none, nothing is compared. There is no challenge, and no nonce is remembered. What it
//! refuses it refuses with status 500 and a text.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proplet_hal::verify::verify;
use proplet_hal::{Evidence, ReportData, TeeName};
use proplet_jose::{b64, jcs};
use proplet_kbs::protocol::SentInitData;
use ring::digest::{self, SHA256, SHA384, SHA512};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::attest::{check_init_data, submod_of};
use super::refusal::Refusal;
use super::state::State;

#[derive(Deserialize)]
struct AttestationRequest {
    verification_requests: Vec<VerificationRequest>,
    #[serde(default)]
    policy_ids: Vec<String>,
}

#[derive(Deserialize)]
struct VerificationRequest {
    tee: TeeName,
    /// JSON in base64url.
    evidence: String,
    runtime_data: Option<RuntimeData>,
    #[serde(default)]
    runtime_data_hash_algorithm: Option<String>,
    init_data: Option<InitDataForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RuntimeData {
    Structured(Value),
    /// Report data in base64url.
    Raw(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum InitDataForm {
    InitDataToml(String),
}

/// A token about what is sent.
pub(super) fn attestation(state: &State, asked: &super::Asked) -> Result<Answer, Refusal> {
    let request: AttestationRequest =
        serde_json::from_slice(&asked.body).map_err(Refusal::service)?;
    if let Some(id) = request.policy_ids.iter().find(|id| *id != "default") {
        return Err(Refusal::service(format!("no policy {id}")));
    }
    if request.verification_requests.is_empty() {
        return Err(Refusal::service("nothing to verify"));
    }
    let mut submods = Map::new();
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    for one in request.verification_requests {
        let class = if one.tee.as_str() == "sampledevice" {
            "gpu"
        } else {
            "cpu"
        };
        let number = numbers.entry(class).or_default();
        let name = format!("{class}{number}");
        *number += 1;
        submods.insert(name, appraise(state, one)?);
    }
    let token = state
        .issuer()
        .issue(
            Value::Object(submods),
            state.now(),
            state.rules.token_lifetime,
        )
        .map_err(Refusal::service)?;
    state.counters.attested.fetch_add(1, Ordering::SeqCst);
    Ok(Answer::text(token))
}

fn appraise(state: &State, request: VerificationRequest) -> Result<Value, Refusal> {
    let evidence = b64::decode(&request.evidence).map_err(Refusal::service)?;
    let evidence = Evidence {
        tee: request.tee.clone(),
        evidence: serde_json::from_slice(&evidence).map_err(Refusal::service)?,
    };
    let verified = verify(&evidence, &state.trust, state.now()).map_err(Refusal::service)?;
    let (expected, claims) = match request.runtime_data {
        None => (None, Value::Null),
        Some(RuntimeData::Raw(text)) => {
            let raw = b64::decode(&text).map_err(Refusal::service)?;
            (Some(raw), Value::Null)
        }
        Some(RuntimeData::Structured(claims)) => {
            let algorithm = match request.runtime_data_hash_algorithm.as_deref() {
                Some("sha256") => &SHA256,
                None | Some("sha384") => &SHA384,
                Some("sha512") => &SHA512,
                Some(other) => return Err(Refusal::service(format!("no hash {other}"))),
            };
            let text = jcs::to_string(&claims).map_err(Refusal::service)?;
            let digest = digest::digest(algorithm, text.as_bytes());
            (Some(digest.as_ref().to_vec()), claims)
        }
    };
    if let Some(expected) = expected {
        let expected = ReportData::new(&expected).map_err(Refusal::service)?;
        if !verified.binds(&expected) {
            return Err(Refusal::service(
                "REPORT_DATA is different from that in the evidence",
            ));
        }
    }
    let init_data = request.init_data.map(|InitDataForm::InitDataToml(body)| {
        let format = "toml".to_owned();
        check_init_data(&SentInitData { format, body }, &verified)
            .map_err(|_| Refusal::service("the init-data is not what the evidence holds"))
    });
    let init_data = init_data.transpose()?;
    let known = state.knows(&verified);
    Ok(submod_of(&request.tee, &verified, claims, init_data, known))
}
