//! SNP verification against recorded evidence: what passes, and that nothing else does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::snp::{
    EndorsementKeyKind, REPORT_LEN, SnpError, SnpReport, SnpTrust, TrustRoots, verify,
    verify_report,
};
use proplet_hal::verify::{Anchor, AppraisalError, TeeFacts, TeeTrust, TrustPolicy};
use proplet_hal::{Evidence, FormError, ReportData, TeeName};
use proptest::prelude::*;
use serde_json::{Value, json};

const EVIDENCE: &str = include_str!("vectors/fake-snp/evidence.json");
const REPORT: &[u8] = include_bytes!("vectors/fake-snp/report.bin");
const VCEK: &[u8] = include_bytes!("vectors/fake-snp/vcek.der");
const ROOTS: &[u8] = include_bytes!("vectors/fake-snp/roots.pem");

fn roots() -> TrustRoots {
    TrustRoots::from_pem(ROOTS).unwrap()
}

fn trust() -> SnpTrust {
    SnpTrust::new(roots())
}

/// The same roots, and versions from 2 on.
fn taking_version_2(roots: TrustRoots) -> SnpTrust {
    SnpTrust {
        minimum_version: 2,
        ..SnpTrust::new(roots)
    }
}

fn roots_der() -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(ROOTS).unwrap();
    let blocks = text
        .split("-----END CERTIFICATE-----")
        .filter_map(|block| block.split_once("E-----"));
    let blocks = blocks.map(|(_, base64)| base64.split_whitespace().collect::<String>());
    blocks
        .map(|base64| STANDARD.decode(base64).unwrap())
        .collect()
}

/// 2024-01-01: inside the validity of every certificate here, the third-party ones included.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200)
}

fn recorded() -> Evidence {
    serde_json::from_str(EVIDENCE).unwrap()
}

/// The recorded evidence after a change.
fn changed(change: impl FnOnce(&mut Value)) -> Result<SnpReport, SnpError> {
    let mut evidence = recorded().evidence;
    change(&mut evidence);
    verify(&evidence, &trust(), now())
}

fn check(report: &[u8], vcek: &[u8]) -> Result<SnpReport, SnpError> {
    verify_report(report, vcek, &trust(), now())
}

#[test]
fn recorded_evidence_verifies() {
    let policy = TrustPolicy::with_snp_roots(roots());
    let verified = proplet_hal::verify::verify(&recorded(), &policy, now()).unwrap();
    let data: [u8; 48] = std::array::from_fn(|at| at as u8);
    assert!(verified.binds(&ReportData::new(&data).unwrap()));
    assert!(!verified.binds(&ReportData::new(&data[..47]).unwrap()));
    assert_eq!(verified.tee(), TeeName::SNP);
    assert_eq!(verified.anchor, Anchor::Given);
    assert_eq!(
        verified.measurement,
        b"fake launch measurement: nothing measured it ..."
    );
    assert_eq!(verified.init_data.as_deref(), Some(&[0x42; 32][..]));
    let report = check(REPORT, VCEK).unwrap();
    assert_eq!(verified.facts, TeeFacts::Snp(Box::new(report)));
}

#[test]
fn reports_and_json_convert_into_each_other() {
    let made = Evidence::from_snp_report(REPORT, Some((EndorsementKeyKind::Vcek, VCEK))).unwrap();
    assert_eq!(made, recorded());
    assert!(Evidence::from_snp_report(&REPORT[1..], None).is_err());
}

#[test]
fn one_flipped_bit_anywhere_in_a_report_is_refused() {
    for at in 0..REPORT_LEN {
        let mut report = REPORT.to_vec();
        report[at] ^= 1 << (at % 8);
        let refused = check(&report, VCEK).unwrap_err();
        let expected = matches!(
            refused,
            SnpError::ReportSignature
                // Fields that are looked at before the signature, and reserved bytes.
                | SnpError::ReportVersion { .. }
                | SnpError::Form(FormError::Malformed { .. })
                | SnpError::EndorsementKeyKind { .. }
        );
        assert!(expected, "byte {at}: {refused}");
    }
}

#[test]
fn one_flipped_bit_anywhere_in_the_certificate_is_refused() {
    for at in 0..VCEK.len() {
        let mut vcek = VCEK.to_vec();
        vcek[at] ^= 1 << (at % 8);
        check(REPORT, &vcek).expect_err(&format!("byte {at}"));
    }
}

#[test]
fn reports_of_another_length_are_refused() {
    for report in [&REPORT[..REPORT_LEN - 1], &[REPORT, &[0]].concat(), &[]] {
        assert!(matches!(
            check(report, VCEK),
            Err(SnpError::Form(FormError::Malformed { .. }))
        ));
    }
}

#[test]
fn amd_roots_do_not_vouch_for_it_even_when_its_own_chain_comes_along() {
    let mut evidence = recorded().evidence;
    let chain = evidence["cert_chain"].as_array_mut().unwrap();
    for (kind, der) in ["ARK", "ASK"].into_iter().zip(roots_der()) {
        chain.push(json!({ "cert_type": kind, "data": der }));
    }
    let refused = verify(&evidence, &SnpTrust::amd().unwrap(), now());
    assert_eq!(
        refused,
        Err(SnpError::UnknownIssuer {
            certificate: EndorsementKeyKind::Vcek
        })
    );
}

#[test]
fn roots_may_be_given_as_der() {
    let der = roots_der();
    let roots = TrustRoots::from_der(&[&der[1], &der[0]]).unwrap();
    assert!(verify(&recorded().evidence, &SnpTrust::new(roots), now()).is_ok());
}

#[test]
fn a_missing_doubled_or_unusable_certificate_is_refused() {
    for chain in [
        json!(null),
        json!([]),
        json!([{ "cert_type": "ASK", "data": VCEK }]),
    ] {
        assert_eq!(
            changed(|e| e["cert_chain"] = chain),
            Err(SnpError::NoEndorsement)
        );
    }
    let absent = changed(|e| {
        e.as_object_mut().unwrap().remove("cert_chain");
    });
    assert_eq!(absent, Err(SnpError::NoEndorsement));

    let doubled = changed(|e| {
        let chain = e["cert_chain"].as_array_mut().unwrap();
        chain.push(json!({ "cert_type": "VLEK", "data": [] }));
    });
    assert_eq!(doubled, Err(SnpError::SeveralEndorsements { count: 2 }));

    for data in [
        json!("MIIF"),
        json!(null),
        json!([256]),
        json!([-1]),
        json!([0.5]),
        json!([]),
    ] {
        let refused = changed(|e| e["cert_chain"][0]["data"] = data);
        assert!(
            matches!(refused, Err(SnpError::Form(FormError::Malformed { .. }))),
            "{refused:?}"
        );
    }
    assert!(matches!(
        changed(|e| e["cert_chain"] = json!("VCEK")),
        Err(SnpError::Form(FormError::Malformed {
            what: "cert_chain",
            ..
        }))
    ));
}

#[test]
fn certificates_of_other_kinds_are_passed_over() {
    let passed = changed(|e| {
        let chain = e["cert_chain"].as_array_mut().unwrap();
        chain.insert(0, json!({ "cert_type": "ARK", "data": "not looked at" }));
        chain.push(json!({ "cert_type": { "OTHER": "01234567-89ab-cdef-0123-456789abcdef" } }));
    });
    assert!(passed.is_ok());
}

#[test]
fn oversized_parts_are_refused_before_they_are_read() {
    let long = changed(|e| e["cert_chain"][0]["data"] = json!(vec![0; 8193]));
    assert!(
        matches!(
            long,
            Err(SnpError::Form(FormError::TooLarge { limit: 8192, .. }))
        ),
        "{long:?}"
    );
    let many = changed(|e| e["cert_chain"] = json!(vec![e["cert_chain"][0].clone(); 17]));
    assert!(
        matches!(
            many,
            Err(SnpError::Form(FormError::TooLarge {
                what: "cert_chain",
                ..
            }))
        ),
        "{many:?}"
    );
}

#[test]
fn what_the_signature_does_not_cover_cannot_speak() {
    // Reports of version 3 have no mitigation vectors and Genoa has no FMC: such members of the JSON
    // are in no signed byte, and the result does not show them.
    let plain = changed(|_| ()).unwrap();
    let adorned = changed(|e| {
        e["attestation_report"]["launch_mit_vector"] = json!(7);
        e["attestation_report"]["reported_tcb"]["fmc"] = json!(9);
        e["attestation_report"]["debug"] = json!(true);
    });
    assert_eq!(adorned.unwrap(), plain);
}

#[test]
fn other_tees_are_unsupported() {
    let evidence = Evidence {
        tee: TeeName::TDX,
        evidence: json!({ "quote": "" }),
    };
    let policy = TrustPolicy::with_snp_roots(roots());
    assert_eq!(
        proplet_hal::verify::verify(&evidence, &policy, now()),
        Err(AppraisalError::Unsupported { tee: TeeName::TDX })
    );
}

#[test]
fn error_messages_do_not_repeat_what_was_sent() {
    let flood = "flood".repeat(1000);
    let refused = changed(|e| e["attestation_report"]["version"] = json!(flood)).unwrap_err();
    assert!(refused.to_string().len() < 400);
}

/// Replaces one place of a JSON value: `path` says which child to go into at each level.
fn replace(value: &mut Value, path: &[usize], new: Value) {
    match (value, path) {
        (Value::Array(items), [step, rest @ ..]) if !items.is_empty() => {
            let at = step % items.len();
            replace(&mut items[at], rest, new);
        }
        (Value::Object(members), [step, rest @ ..]) if !members.is_empty() => {
            let at = step % members.len();
            replace(members.values_mut().nth(at).unwrap(), rest, new);
        }
        (value, _) => *value = new,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u8>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[A-Za-z_]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(
                "(attestation_report|cert_chain|cert_type|data|[a-z]{1,6})",
                inner,
                0..4
            )
            .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_refused_without_panic(evidence in any_json()) {
        prop_assert!(verify(&evidence, &trust(), now()).is_err());
    }

    #[test]
    fn evidence_with_one_value_replaced_never_says_anything_else(
        path in prop::collection::vec(any::<usize>(), 0..4),
        value in any_json(),
    ) {
        if let Ok(report) = changed(|evidence| replace(evidence, &path, value)) {
            prop_assert_eq!(report, check(REPORT, VCEK).unwrap());
        }
    }

    #[test]
    fn any_report_and_certificate_are_refused_without_panic(
        report in prop::collection::vec(any::<u8>(), 0..REPORT_LEN + 8),
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..16),
    ) {
        prop_assert!(check(&report, VCEK).is_err());
        let mut vcek = VCEK.to_vec();
        let at = at.index(vcek.len());
        vcek.splice(at..at, noise);
        prop_assert!(check(REPORT, &vcek).is_err());
    }
}

/// Evidence of real chips. It is third-party material and stays outside the repository.
mod real {
    use super::*;

    fn vector(name: &str) -> Vec<u8> {
        let folder =
            std::env::var_os("PROPLET_VECTORS").expect("PROPLET_VECTORS names the vectors");
        std::fs::read(
            std::path::Path::new(&folder)
                .join("evidence/snp")
                .join(name),
        )
        .unwrap()
    }

    fn milan() -> (Vec<u8>, Vec<u8>) {
        (
            hex::decode(vector("report_milan.hex").trim_ascii()).unwrap(),
            vector("vcek_milan.der"),
        )
    }

    fn trustee() -> (Vec<u8>, Vec<u8>) {
        (vector("test-report.bin"), vector("test-vcek.der"))
    }

    fn check(report: &[u8], vcek: &[u8], roots: &TrustRoots) -> Result<SnpReport, SnpError> {
        verify_report(report, vcek, &taking_version_2(roots.clone()), now())
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn milan_reports_verify_under_amd_roots() {
        let given = TrustRoots::from_pem(&vector("cert_chain_milan.pem")).unwrap();
        let amd = TrustRoots::amd().unwrap();
        for (report, vcek) in [milan(), trustee()] {
            let facts = check(&report, &vcek, &amd).unwrap();
            assert_eq!(facts.version, 2);
            assert_eq!(facts.signing_key, EndorsementKeyKind::Vcek);
            assert_eq!(check(&report, &vcek, &given).unwrap(), facts);

            let json = Evidence::from_snp_report(&report, Some((EndorsementKeyKind::Vcek, &vcek)))
                .unwrap();
            let trust = taking_version_2(amd.clone());
            let policy = TrustPolicy::of(TeeTrust::Snp(Box::new(trust)));
            let verified = proplet_hal::verify::verify(&json, &policy, now()).unwrap();
            assert_eq!(verified.anchor, Anchor::Vendor);
            assert_eq!(verified.facts, TeeFacts::Snp(Box::new(facts)));
        }
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn milan_reports_are_of_a_version_that_is_refused_unless_allowed() {
        let (report, vcek) = milan();
        let refused = verify_report(&report, &vcek, &SnpTrust::amd().unwrap(), now());
        assert_eq!(
            refused,
            Err(SnpError::ReportVersion {
                version: 2,
                minimum: 3,
                maximum: 5
            })
        );
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn one_flipped_bit_anywhere_in_a_real_report_is_refused() {
        let amd = TrustRoots::amd().unwrap();
        let (report, vcek) = milan();
        for at in 0..report.len() {
            let mut changed = report.clone();
            changed[at] ^= 1 << (at % 8);
            check(&changed, &vcek, &amd).expect_err(&format!("byte {at}"));
        }
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn certificates_of_other_chips_are_refused() {
        let amd = TrustRoots::amd().unwrap();
        let ((milan_report, milan_vcek), (trustee_report, trustee_vcek)) = (milan(), trustee());
        let invalid = vector("test-vcek-invalid-new.der");
        for (report, vcek) in [
            (&milan_report, &trustee_vcek),
            (&trustee_report, &milan_vcek),
            (&trustee_report, &invalid),
            (&milan_report, &invalid),
        ] {
            let refused = check(report, vcek, &amd).unwrap_err();
            let expected = matches!(
                refused,
                SnpError::ReportSignature | SnpError::CertificateSignature { .. }
            );
            assert!(expected, "{refused}");
        }
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn real_chips_are_unknown_to_a_test_pki() {
        let (report, vcek) = milan();
        let refused = check(&report, &vcek, &roots());
        assert_eq!(
            refused,
            Err(SnpError::UnknownIssuer {
                certificate: EndorsementKeyKind::Vcek
            })
        );
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn real_certificates_expire() {
        let (report, vcek) = milan();
        let amd = TrustRoots::amd().unwrap();
        let trust = taking_version_2(amd);
        let later = now() + Duration::from_secs(10 * 365 * 24 * 3600);
        assert_eq!(
            verify_report(&report, &vcek, &trust, later),
            Err(SnpError::CertificateTime {
                what: "VCEK",
                state: "expired"
            })
        );
    }
}
