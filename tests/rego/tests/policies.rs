//! The policies of `docs/trustee`, with Trustee's engine: the cases that the development key broker decides too,
//! what `proplet image encrypt` prints, and the tokens of recorded exchanges with a stock Trustee.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proplet_rego::allows;
use serde_json::{Value, json};

const PASSPORT: &str = include_str!("../../../docs/trustee/passport.rego");
const ADDITIONAL_EVIDENCE: &str = include_str!("../../../docs/trustee/additional-evidence.rego");
/// What the tables of the files have in the place of a digest.
const PLACEHOLDER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// The component of the recordings.
const RECORDED: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn policy(way: &str) -> &'static str {
    match way {
        "passport" => PASSPORT,
        "additional-evidence" => ADDITIONAL_EVIDENCE,
        other => panic!("no policy for {other}"),
    }
}

#[test]
fn each_case_is_decided_as_it_says() {
    let cases: Value = serde_json::from_str(include_str!("../cases.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let allowed = allows(policy(text("way")), text("path"), &case["claims"]).unwrap();
        assert_eq!(json!(allowed), case["allowed"], "{}", text("name"));
    }
}

#[test]
fn another_plugin_gets_nothing() {
    for policy in [PASSPORT, ADDITIONAL_EVIDENCE] {
        // The rules say so; a policy that did not would be another text.
        assert_eq!(policy.matches("data.plugin == \"resource\"").count(), 2);
    }
}

/// What `proplet image encrypt --print-kbs-policy` printed: a test beside the command holds it to these files.
#[test]
fn what_is_printed_admits_its_image_and_its_component_and_no_others() {
    let printed: Value = serde_json::from_str(include_str!("../printed.json")).unwrap();
    for printed in printed.as_array().unwrap() {
        let text = |name: &str| printed[name].as_str().unwrap();
        let (way, policy) = (text("way"), text("policy"));
        let (image, component) = (text("image_digest"), text("component_digest"));
        let other = PLACEHOLDER;
        for (path, workload, allowed) in [
            ("alice/key/module", json!({ "image_digest": image }), true),
            ("alice/key/module", json!({ "image_digest": other }), false),
            (
                "alice/key/module",
                json!({ "image_digest": component }),
                false,
            ),
            (
                "alice/data/secret",
                json!({ "image_digest": image, "component_digest": component }),
                true,
            ),
            (
                "alice/data/secret",
                json!({ "image_digest": image, "component_digest": other }),
                false,
            ),
            ("alice/data/secret", json!({ "image_digest": image }), false),
            (
                "alice/readers/set",
                json!({ "component_digest": component }),
                true,
            ),
            (
                "alice/data/other",
                json!({ "component_digest": component }),
                false,
            ),
        ] {
            for (tee, counts) in [("snp", true), ("tdx", false), ("sample", false)] {
                let claims = claims(way, tee, &workload);
                let is = allows(policy, path, &claims).unwrap();
                assert_eq!(is, allowed && counts, "{way} {tee} {path} {workload}");
            }
        }
    }
}

fn claims(way: &str, tee: &str, workload: &Value) -> Value {
    let submod = |status: &str, evidence: Value| {
        json!({
            "ear.status": status,
            "ear.appraisal-policy-id": "default",
            "ear.veraison.annotated-evidence": evidence,
        })
    };
    if way == "passport" {
        let evidence = json!({ tee: {}, "runtime_data_claims": { "workload": workload } });
        return json!({ "submods": { "cpu0": submod("affirming", evidence) } });
    }
    let text = json!({ "sampledevice": { "workload": workload } }).to_string();
    let evidence = json!({ tee: {}, "runtime_data_claims": { "additional-evidence": text } });
    let device = json!({ "sampledevice": { "svn": "1" } });
    json!({ "submods": {
        "cpu0": submod("affirming", evidence),
        "gpu0": submod("contraindicated", device),
    } })
}

/// The claims of the token that a recorded request showed, or that a recorded answer gave.
fn recorded(file: &str) -> Value {
    let folder = PathBuf::from(std::env::var_os("PROPLET_VECTORS").expect("PROPLET_VECTORS"));
    let exchange = std::fs::read(folder.join("passport").join(file)).unwrap();
    let exchange: Value = serde_json::from_slice(&exchange).unwrap();
    let body = exchange["response"]["body"].as_str().unwrap();
    let token = match serde_json::from_str::<Value>(body) {
        Ok(body) => body["token"].as_str().unwrap().to_owned(),
        Err(_) => body.to_owned(),
    };
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The shipped policy with the recorded component in its table, for the TEE of the recordings.
fn for_recordings(policy: &str) -> String {
    let policy = policy.replace(PLACEHOLDER, RECORDED);
    policy.replace("tees := {\"snp\", \"tdx\"}", "tees := {\"sample\"}")
}

#[test]
#[ignore = "needs $PROPLET_VECTORS; .ci/run runs it"]
fn recorded_tokens_are_decided_as_trustee_decided() {
    let cases = [
        (
            PASSPORT,
            "01-right-digest-allowed/02-POST-attestation-200.json",
            true,
        ),
        (
            PASSPORT,
            "02-wrong-digest-denied/01-POST-attestation-200.json",
            false,
        ),
        // The token is as good: only the key that it names opens what is released.
        (
            PASSPORT,
            "05-old-evidence-replayed-to-AS/01-POST-attestation-200.json",
            true,
        ),
        (
            PASSPORT,
            "08-no-or-raw-runtime-data/01-POST-attestation-200.json",
            false,
        ),
        (
            PASSPORT,
            "08-no-or-raw-runtime-data/03-POST-attestation-200.json",
            false,
        ),
        (
            ADDITIONAL_EVIDENCE,
            "15-rcar-additional-evidence-carries-workload/02-POST-kbs_v0_attest-200.json",
            true,
        ),
        (
            ADDITIONAL_EVIDENCE,
            "15-rcar-additional-evidence-carries-workload/06-POST-kbs_v0_attest-200.json",
            false,
        ),
    ];
    for (policy, file, allowed) in cases {
        let claims = recorded(file);
        // As shipped, sample evidence opens nothing.
        let shipped = policy.replace(PLACEHOLDER, RECORDED);
        assert_eq!(
            allows(&shipped, "default/model/iris", &claims),
            Ok(false),
            "{file}"
        );
        let policy = for_recordings(policy);
        let is = allows(&policy, "default/model/iris", &claims).unwrap();
        assert_eq!(is, allowed, "{file}");
        assert_eq!(
            allows(&policy, "default/model/other", &claims),
            Ok(false),
            "{file}"
        );
        assert_eq!(
            allows(&policy, "default/key/classify", &claims),
            Ok(false),
            "{file}"
        );
    }
}
