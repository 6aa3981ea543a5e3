//! Results under evidence of a fake SNP TEE: the whole chain, from the root to the opened result.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proplet_hal::TeeProvider as _;
use proplet_hal::snp::SnpError;
use proplet_hal::verify::{Anchor, AppraisalError, TrustPolicy};
use proplet_jose::jwk::PrivateKey;
use proplet_results::claims::{Claims, WorkloadClaims};
use proplet_results::digest::{of_arguments, of_environment, of_inputs};
use proplet_results::receipt::RunOutcome;
use proplet_results::verify::{
    CheckOutcome, Expectations, ExpectedInvocation, VerifyError, verify, verify_bundle,
};
use proplet_results::{EvidenceBundle, ReceiptClaims, ReceiptKey, ResultDocument, open, seal};
use proplet_testkit::tee::{FakeSnp, Sample, Tampering, test_roots};
use proplet_types::{Check, Digest};

const HOST_DATA: [u8; 32] = [7; 32];

fn trust() -> TrustPolicy {
    TrustPolicy::with_snp_roots(test_roots())
}

fn settings() -> Digest {
    Digest::of(b"settings")
}

async fn instance(tee: &FakeSnp, key: &ReceiptKey) -> EvidenceBundle {
    let claims = Claims::instance(key, settings(), tee.attester()).unwrap();
    EvidenceBundle::gather(tee, &claims).await.unwrap()
}

/// One run on a host with this TEE, sealed to `owner`.
async fn document(tee: &FakeSnp, owner: &PrivateKey) -> ResultDocument {
    let key = ReceiptKey::generate().unwrap();
    let evidence = instance(tee, &key).await;
    let sealed = seal(b"30", "text/plain", &[owner.public().clone()]).unwrap();
    let claims = ReceiptClaims {
        task_id: "task-1".to_owned(),
        sequence: 1,
        outcome: RunOutcome::Completed,
        component_digest: Digest::of(b"component"),
        image_digest: Some(Digest::of(b"image")),
        policy_digest: Some(Digest::of(b"policy")),
        settings_digest: settings(),
        attester: tee.attester().to_owned(),
        export: "run".to_owned(),
        arguments_digest: of_arguments::<&str>(&[]).unwrap(),
        environment_digest: of_environment(&BTreeMap::new()).unwrap(),
        inputs_digest: of_inputs(&["10", "20"]).unwrap(),
        result_digest: sealed.digest,
        recipients: vec![owner.public().thumbprint()],
        flavour: proplet_hal::Flavour::Sealed,
        limits: BTreeMap::new(),
        untrusted_start: SystemTime::now().into(),
        untrusted_finish: SystemTime::now().into(),
        audit_head: None,
        invocation_id: None,
        evidence_digest: evidence.digest().unwrap(),
    };
    ResultDocument {
        jwe: sealed.jwe,
        receipt: key.sign(&claims).unwrap(),
        evidence,
    }
}

fn everything(owner: &PrivateKey) -> Expectations {
    Expectations {
        init_data: Some(HOST_DATA.to_vec()),
        settings: Some(settings()),
        component: Some(Digest::of(b"component")),
        image: Some(Digest::of(b"image")),
        policy: Some(Digest::of(b"policy")),
        task_id: Some("task-1".to_owned()),
        invocation: Some(ExpectedInvocation::Absent),
        export: Some("run".to_owned()),
        inputs: Some(of_inputs(&["10", "20"]).unwrap()),
        arguments: Some(of_arguments::<&str>(&[]).unwrap()),
        environment: Some(of_environment(&BTreeMap::new()).unwrap()),
        recipients: Some(vec![owner.public().thumbprint()]),
        ..Expectations::of_measurements([vec![0; 48], FakeSnp::MEASUREMENT.to_vec()])
    }
}

#[tokio::test]
async fn a_result_verifies_from_the_root_down_and_opens() {
    let owner = PrivateKey::generate_p256().unwrap();
    let tee = FakeSnp::builder().host_data(HOST_DATA).build();
    let text = document(&tee, &owner).await.to_text().unwrap();
    let message = serde_json::json!({
        "task_id": "task-1", "proplet_id": "p", "results": text, "error": null
    });
    let document = ResultDocument::from_text(&message.to_string()).unwrap();
    let expectations = everything(&owner);
    let opened = open(
        &document,
        &owner,
        &trust(),
        &expectations,
        SystemTime::now(),
    )
    .unwrap();
    assert_eq!(opened.content.as_slice(), b"30");

    let report = opened.report;
    let left_out: Vec<Check> = report
        .not_verified_checks()
        .map(|(check, _)| check)
        .collect();
    // What a verifier of evidence checks only when asked. The VM has no ID block.
    let on_demand = [
        Check::MinimumTcb,
        Check::Revocation,
        Check::Chip,
        Check::GuestPolicy,
    ];
    assert_eq!(left_out, on_demand);
    // Nothing else was left open, and it is still no hardware: that is said twice.
    assert!(!report.is_complete());
    assert_eq!(report.anchor, Anchor::Given);
    assert!(report.warnings[0].contains("GIVEN ROOTS"));
    assert!(report.warnings[1].contains("\"fake-snp\": it is a FAKE"));
}

#[tokio::test]
async fn the_vendors_roots_do_not_vouch_for_a_fake() {
    let owner = PrivateKey::generate_p256().unwrap();
    let document = document(&FakeSnp::new(), &owner).await;
    let hardware = TrustPolicy::hardware().unwrap();
    let refused = verify(
        &document,
        &hardware,
        &Expectations::of_any_measurement(),
        SystemTime::now(),
    );
    assert!(
        matches!(refused, Err(VerifyError::Evidence(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_debuggable_vm_is_refused_unless_allowed() {
    let owner = PrivateKey::generate_p256().unwrap();
    let document = document(&FakeSnp::builder().debug(true).build(), &owner).await;
    let mut expectations = Expectations::of_any_measurement();
    let check = |expected: &Expectations| verify(&document, &trust(), expected, SystemTime::now());
    assert_eq!(check(&expectations).unwrap_err(), VerifyError::Debug);
    expectations.allow_debug = true;
    let report = check(&expectations).unwrap();
    assert!(matches!(
        report.check(Check::Debug),
        Some(CheckOutcome::NotVerified(_))
    ));
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("DEBUGGABLE VM"))
    );
}

#[tokio::test]
async fn a_vm_that_may_be_migrated_is_refused() {
    let owner = PrivateKey::generate_p256().unwrap();
    let document = document(&FakeSnp::builder().migratable(true).build(), &owner).await;
    let expectations = Expectations {
        allow_debug: true,
        ..Expectations::of_any_measurement()
    };
    assert_eq!(
        verify(&document, &trust(), &expectations, SystemTime::now()).unwrap_err(),
        VerifyError::Migratable
    );
}

#[tokio::test]
async fn another_measurement_or_init_data_is_refused() {
    let owner = PrivateKey::generate_p256().unwrap();
    let now = SystemTime::now();
    let other_image = FakeSnp::builder().host_data(HOST_DATA).measurement([1; 48]);
    for (check, tee) in [
        (Check::Measurement, other_image.build()),
        (
            Check::InitData,
            FakeSnp::builder().host_data([8; 32]).build(),
        ),
        (Check::InitData, FakeSnp::new()),
    ] {
        let document = document(&tee, &owner).await;
        let refused = verify(&document, &trust(), &everything(&owner), now).unwrap_err();
        assert!(
            matches!(refused, VerifyError::Unexpected { check: found, .. } if found == check),
            "{refused}"
        );
        let report = verify(
            &document,
            &trust(),
            &Expectations::of_any_measurement(),
            now,
        )
        .unwrap();
        assert!(matches!(
            report.check(check),
            Some(CheckOutcome::NotVerified(_))
        ));
    }
}

#[tokio::test]
async fn tampered_evidence_is_refused() {
    let owner = PrivateKey::generate_p256().unwrap();
    for tampering in [
        Tampering::Signature,
        Tampering::Measurement,
        Tampering::ReportData,
    ] {
        let tee = FakeSnp::builder().tampering(tampering).build();
        let document = document(&tee, &owner).await;
        let refused = verify(
            &document,
            &trust(),
            &Expectations::of_any_measurement(),
            SystemTime::now(),
        );
        let expected = VerifyError::Evidence(AppraisalError::Snp(SnpError::ReportSignature));
        assert_eq!(refused.unwrap_err(), expected, "{tampering:?}");
    }
}

#[tokio::test]
async fn certificates_are_judged_at_the_given_time() {
    let owner = PrivateKey::generate_p256().unwrap();
    let document = document(&FakeSnp::new(), &owner).await;
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let refused = verify(
        &document,
        &trust(),
        &Expectations::of_any_measurement(),
        then,
    )
    .unwrap_err();
    assert!(
        matches!(
            refused,
            VerifyError::Evidence(AppraisalError::Snp(SnpError::CertificateTime { .. }))
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn workload_evidence_answers_a_challenge_and_vouches_for_no_receipt() {
    let tee = FakeSnp::new();
    let key = ReceiptKey::generate().unwrap();
    let workload = WorkloadClaims {
        component_digest: Digest::of(b"component"),
        image_digest: None,
        policy_digest: None,
        task_id: "task-1".to_owned(),
    };
    let claims = Claims::workload(b"fresh", &key, settings(), tee.attester(), workload).unwrap();
    let bundle = EvidenceBundle::gather(&tee, &claims).await.unwrap();
    let expectations = Expectations {
        challenge: Some(b"fresh".to_vec()),
        component: Some(Digest::of(b"component")),
        ..Expectations::of_measurements([FakeSnp::MEASUREMENT.to_vec()])
    };
    let now = SystemTime::now();
    let report = verify_bundle(&bundle, &trust(), &expectations, now).unwrap();
    for name in [
        Check::Evidence,
        Check::Claims,
        Check::Challenge,
        Check::Component,
        Check::Measurement,
    ] {
        assert_eq!(report.check(name), Some(&CheckOutcome::Verified), "{name}");
    }

    // Evidence of the same TEE over another component's claims does not carry over.
    let mut swapped = bundle.clone();
    let other = Digest::of(b"other").to_string();
    swapped
        .claims
        .insert("component_digest".into(), other.into());
    let refused =
        verify_bundle(&swapped, &trust(), &Expectations::of_any_measurement(), now).unwrap_err();
    assert_eq!(refused, VerifyError::ReportData);

    let owner = PrivateKey::generate_p256().unwrap();
    let document = ResultDocument {
        evidence: bundle,
        ..document(&tee, &owner).await
    };
    let refused = verify(
        &document,
        &trust(),
        &Expectations::of_any_measurement(),
        now,
    )
    .unwrap_err();
    assert!(matches!(refused, VerifyError::Kind(_)), "{refused}");
}

#[tokio::test]
async fn sample_evidence_needs_permission_in_so_many_words() {
    let tee = Sample::new();
    let key = ReceiptKey::generate().unwrap();
    let claims = Claims::instance(&key, settings(), tee.attester()).unwrap();
    let bundle = EvidenceBundle::gather(&tee, &claims).await.unwrap();
    let expectations = Expectations::of_any_measurement();
    let now = SystemTime::now();
    assert_eq!(
        verify_bundle(&bundle, &trust(), &expectations, now).unwrap_err(),
        VerifyError::Evidence(AppraisalError::SampleRefused)
    );
    let lenient = trust().accepting_sample_evidence_that_proves_nothing();
    let report = verify_bundle(&bundle, &lenient, &expectations, now).unwrap();
    assert!(report.warnings[0].contains("SAMPLE EVIDENCE"));
    assert!(matches!(
        report.check(Check::Evidence),
        Some(CheckOutcome::NotVerified(_))
    ));
}
