//! The attestation service: from an attestation message to the submodules of a token.

use std::time::SystemTime;

use proplet_hal::tdx::TdxFacts;
use proplet_hal::verify::{TeeFacts, TrustPolicy, Verified, verify};
use proplet_hal::{Evidence, ReportData, TeeName};
use proplet_jose::{b64, jcs};
use proplet_kbs::protocol::{Attestation, HashAlgorithm, RuntimeData, SentInitData};
use ring::digest::{self, SHA256, SHA384, SHA512};
use serde_json::{Map, Value, json};

use super::refusal::Refusal;

/// Configuration, executables and hardware where the measurement is a reference value.
const GOOD: [u8; 3] = [2, 3, 2];
/// The same without one: where Trustee's default policy begins.
const UNKNOWN: [u8; 3] = [36, 33, 97];

/// Verifies an attestation and gives the token's `submods`.
pub(super) fn appraise(
    attestation: Attestation,
    tee: TeeName,
    trust: &TrustPolicy,
    knows: impl Fn(&Verified) -> bool,
    now: SystemTime,
) -> Result<Value, Refusal> {
    let Attestation {
        init_data,
        runtime_data,
        tee_evidence,
    } = attestation;
    let additional = tee_evidence.additional_evidence;
    let expected = runtime_data
        .primary_digest(&additional, HashAlgorithm::Sha384)
        .map_err(Refusal::attest)?;
    let evidence = Evidence {
        tee: tee.clone(),
        evidence: tee_evidence.primary_evidence,
    };
    let verified = bound(&evidence, &expected, trust, now)?;
    let init_data = init_data
        .map(|sent| check_init_data(&sent, &verified))
        .transpose()?;
    let runtime_data_claims = json!({
        "additional-evidence": additional,
        "nonce": runtime_data.nonce,
        "tee-pubkey": runtime_data.tee_pubkey,
    });
    let known = knows(&verified);
    let mut submods = Map::new();
    let cpu = submod_of(&tee, &verified, runtime_data_claims, init_data, known);
    submods.insert("cpu0".to_owned(), cpu);
    if !additional.is_empty() {
        let device = appraise_device(&additional, &runtime_data, trust, now)?;
        submods.insert("gpu0".to_owned(), device);
    }
    Ok(Value::Object(submods))
}

/// Verifies one request to the attestation service alone, and gives the token's `submods`. The error is for the
/// asker, in words.
pub(super) fn appraise_structured(
    request: &Value,
    trust: &TrustPolicy,
    now: SystemTime,
) -> Result<Value, String> {
    let text = |name: &str| request.get(name).and_then(Value::as_str);
    let tee: TeeName = text("tee")
        .and_then(|tee| tee.parse().ok())
        .ok_or("tee is no name")?;
    let evidence = text("evidence")
        .and_then(|text| b64::decode(text).ok())
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or("evidence is no base64url of JSON")?;
    let structured = request
        .pointer("/runtime_data/structured")
        .filter(|claims| claims.is_object())
        .ok_or("only structured runtime data is taken")?;
    let algorithm = match text("runtime_data_hash_algorithm") {
        None | Some("sha384") => &SHA384,
        Some("sha512") => &SHA512,
        _ => return Err("only sha384 and sha512 are taken".to_owned()),
    };
    let canonical = jcs::to_string(structured).map_err(|error| error.to_string())?;
    let expected = digest::digest(algorithm, canonical.as_bytes());
    let evidence = Evidence {
        tee: tee.clone(),
        evidence,
    };
    let verified = verify(&evidence, trust, now).map_err(|error| error.to_string())?;
    let expected = ReportData::new(expected.as_ref()).map_err(|error| error.to_string())?;
    if !verified.binds(&expected) {
        return Err("the report data is not the digest of the runtime data".to_owned());
    }
    let mut annotated = Map::new();
    annotated.insert(tee.to_string(), tee_claims(&verified));
    annotated.insert("runtime_data_claims".to_owned(), structured.clone());
    if let Some(body) = request.pointer("/init_data/init_data_toml") {
        let sent = SentInitData {
            format: "toml".to_owned(),
            body: body.as_str().unwrap_or_default().to_owned(),
        };
        let claims = check_init_data(&sent, &verified)
            .map_err(|_| "the init-data is not the VM's".to_owned())?;
        annotated.insert("init_data_claims".to_owned(), claims);
    }
    Ok(json!({ "cpu0": submod(false, Value::Object(annotated)) }))
}

/// The submodule of verified evidence.
pub(super) fn submod_of(
    tee: &TeeName,
    verified: &Verified,
    runtime_data_claims: Value,
    init_data_claims: Option<Value>,
    known: bool,
) -> Value {
    let mut annotated = Map::new();
    annotated.insert(tee.to_string(), tee_claims(verified));
    let report_data = json!(hex::encode(&verified.report_data));
    annotated.insert("report_data".to_owned(), report_data);
    annotated.insert("runtime_data_claims".to_owned(), runtime_data_claims);
    if let Some(digest) = &verified.init_data {
        annotated.insert("init_data".to_owned(), json!(hex::encode(digest)));
    }
    if let Some(claims) = init_data_claims {
        annotated.insert("init_data_claims".to_owned(), claims);
    }
    submod(known, Value::Object(annotated))
}

/// The one additional device that is known is the sample device.
fn appraise_device(
    additional: &str,
    runtime_data: &RuntimeData,
    trust: &TrustPolicy,
    now: SystemTime,
) -> Result<Value, Refusal> {
    let devices: Map<String, Value> = serde_json::from_str(additional).map_err(Refusal::attest)?;
    let evidence = match (devices.len(), devices.get("sampledevice")) {
        (1, Some(evidence)) => evidence.clone(),
        _ => {
            return Err(Refusal::attest(
                "only a sampledevice is known as an additional device",
            ));
        }
    };
    let expected = runtime_data
        .device_digest(HashAlgorithm::Sha384)
        .map_err(Refusal::attest)?;
    // Of the same form as the sample TEE's, which may have members that nobody knows.
    let plain = json!({ "svn": evidence.get("svn"), "report_data": evidence.get("report_data") });
    let plain = Evidence {
        tee: TeeName::SAMPLE,
        evidence: plain,
    };
    // Whoever accepts the evidence of the CPU has a device that anybody can write for nothing.
    let trust = trust.clone();
    let trust = trust.accepting_sample_evidence_that_proves_nothing();
    bound(&plain, &expected, &trust, now)?;
    let svn = evidence.get("svn");
    Ok(submod(false, json!({ "sampledevice": { "svn": svn } })))
}

/// Verifies evidence that must be over `expected`.
fn bound(
    evidence: &Evidence,
    expected: &[u8],
    trust: &TrustPolicy,
    now: SystemTime,
) -> Result<Verified, Refusal> {
    let verified = verify(evidence, trust, now).map_err(Refusal::attest)?;
    let expected = ReportData::new(expected).map_err(Refusal::attest)?;
    if !verified.binds(&expected) {
        return Err(Refusal::attest(
            "the report data is not the digest of the runtime data",
        ));
    }
    Ok(verified)
}

/// Compares init-data with what the TEE reports, cut or padded to its length, and gives its `data`.
pub(super) fn check_init_data(sent: &SentInitData, verified: &Verified) -> Result<Value, Refusal> {
    if sent.format != "toml" {
        return Err(Refusal::attest("init-data is not TOML"));
    }
    let document: toml::Table = sent.body.parse().map_err(Refusal::attest)?;
    let algorithm = match document.get("algorithm").and_then(toml::Value::as_str) {
        Some("sha256") => &SHA256,
        Some("sha384") => &SHA384,
        Some("sha512") => &SHA512,
        _ => return Err(Refusal::attest("init-data names no known algorithm")),
    };
    let mut expected = digest::digest(algorithm, sent.body.as_bytes())
        .as_ref()
        .to_vec();
    let field = match verified.facts {
        TeeFacts::Snp(_) => Some(("HOST_DATA", 32)),
        TeeFacts::Tdx(_) => Some(("MRCONFIGID", 48)),
        // The sample TEE has nothing to compare with.
        _ => None,
    };
    if let Some((name, length)) = field {
        expected.resize(length, 0);
        if verified.init_data.as_ref() != Some(&expected) {
            return Err(Refusal::attest(format!(
                "{name} is not the digest of the init-data"
            )));
        }
    }
    let data = document
        .get("data")
        .cloned()
        .unwrap_or(toml::Value::Table(toml::Table::new()));
    serde_json::to_value(data).map_err(Refusal::attest)
}

fn submod(known: bool, annotated: Value) -> Value {
    let [configuration, executables, hardware] = if known { GOOD } else { UNKNOWN };
    json!({
        "ear.status": if known { "affirming" } else { "contraindicated" },
        "ear.trustworthiness-vector": {
            "instance-identity": 0,
            "configuration": configuration,
            "executables": executables,
            "file-system": 0,
            "hardware": hardware,
            "runtime-opaque": 0,
            "storage-opaque": 0,
            "sourced-data": 0,
        },
        "ear.appraisal-policy-id": "default",
        "ear.veraison.annotated-evidence": annotated,
        "ear.trustee.identifiers": { "validated": {} },
    })
}

fn tee_claims(verified: &Verified) -> Value {
    match &verified.facts {
        TeeFacts::Snp(report) => json!({
            "measurement": hex::encode(report.measurement),
            "chip_id": hex::encode(report.chip_id),
            "policy_debug_allowed": report.debug,
            "policy_migrate_ma": report.migration_agent,
            "reported_tcb_bootloader": report.reported_tcb.bootloader,
            "reported_tcb_tee": report.reported_tcb.tee,
            "reported_tcb_snp": report.reported_tcb.snp,
            "reported_tcb_microcode": report.reported_tcb.microcode,
        }),
        TeeFacts::Tdx(facts) => tdx_claims(facts),
        _ => json!({
            "svn": "1",
            "launch_digest": "abcde",
            "platform_version": { "major": 1, "minor": 4 },
            "debug": verified.debug,
        }),
    }
}

/// Claims in the form of Trustee's verifier, numbers of the quote as little-endian bytes in hexadecimal.
fn tdx_claims(facts: &TdxFacts) -> Value {
    let report = &facts.report;
    let has = |bit: u32| report.td_attributes & (1 << bit) != 0;
    let [rtmr_0, rtmr_1, rtmr_2, rtmr_3] = report.rtmrs.map(hex::encode);
    json!({
        "quote": {
            "header": { "version": hex::encode(facts.quote_version.to_le_bytes()) },
            "body": {
                "tcb_svn": hex::encode(report.tee_tcb_svn),
                "mr_seam": hex::encode(report.mr_seam),
                "mrsigner_seam": hex::encode(report.mr_signer_seam),
                "seam_attributes": hex::encode(report.seam_attributes.to_le_bytes()),
                "td_attributes": hex::encode(report.td_attributes.to_le_bytes()),
                "xfam": hex::encode(report.xfam.to_le_bytes()),
                "mr_td": hex::encode(report.mr_td),
                "mr_config_id": hex::encode(report.mr_config_id),
                "mr_owner": hex::encode(report.mr_owner),
                "mr_owner_config": hex::encode(report.mr_owner_config),
                "rtmr_0": rtmr_0,
                "rtmr_1": rtmr_1,
                "rtmr_2": rtmr_2,
                "rtmr_3": rtmr_3,
                "report_data": hex::encode(report.report_data),
            },
        },
        "td_attributes": {
            "debug": has(0),
            "septve_disable": has(28),
            "protection_keys": has(30),
            "key_locker": has(31),
            "perfmon": has(63),
        },
        "tcb_status": facts.tcb.status.to_string(),
        "advisory_ids": facts.tcb.advisories,
        "collateral_expiration_status": "0",
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proplet_hal::TeeProvider as _;
    use proplet_hal::init_data::{DigestAlgorithm, InitData as Document};

    use super::*;
    use crate::tee::{FakeSnp, test_roots};

    #[tokio::test]
    async fn init_data_is_compared_with_what_the_vm_was_launched_with() {
        let document = Document::holding(DigestAlgorithm::Sha384, "a", "b").unwrap();
        let sent = SentInitData {
            format: "toml".to_owned(),
            body: document.text().to_owned(),
        };
        for (host_data, accepted) in [
            (document.host_data(), true),
            ([1; 32], false),
            ([0; 32], false),
        ] {
            let fake = FakeSnp::builder().host_data(host_data).build();
            let evidence = fake
                .evidence(&ReportData::new(&[7; 48]).unwrap())
                .await
                .unwrap();
            let trust = TrustPolicy::with_snp_roots(test_roots());
            let verified = verify(&evidence, &trust, SystemTime::now()).unwrap();
            assert_eq!(check_init_data(&sent, &verified).is_ok(), accepted);
        }
    }
}
