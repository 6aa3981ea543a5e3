//! Verification and opening, every refusal of them, with `sample` evidence in the place of a TEE's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::verify::{Anchor, AppraisalError, TrustPolicy};
use proplet_hal::{Evidence, TeeName};
use proplet_jose::b64;
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_results::claims::{Claims, ClaimsKind, WorkloadClaims};
use proplet_results::digest::{of_arguments, of_environment, of_inputs};
use proplet_results::failure::Failure;
use proplet_results::receipt::{ReceiptError, RunOutcome};
use proplet_results::verify::{
    CheckOutcome, Expectations, ExpectedInvocation, Report, VerifyError, verify, verify_bundle,
};
use proplet_results::{
    EvidenceBundle, OpenError, Opened, ReceiptClaims, ReceiptKey, ResultDocument, Sealed, open,
    seal,
};
use proplet_types::{Check, Digest};
use proptest::prelude::*;
use serde_json::json;

/// One run on one host, before anybody tampers with it.
struct Run {
    key: ReceiptKey,
    owner: PrivateKey,
    evidence: EvidenceBundle,
    sealed: Sealed,
    claims: ReceiptClaims,
}

impl Run {
    fn new() -> Self {
        let key = ReceiptKey::generate().unwrap();
        let owner = PrivateKey::generate_x25519().unwrap();
        let evidence = bundle(&Claims::instance(&key, settings(), "sample").unwrap());
        let sealed = seal(b"42", "text/plain", &[owner.public().clone()]).unwrap();
        let claims = receipt(&evidence, &sealed, &[owner.public().clone()]);
        Self {
            key,
            owner,
            evidence,
            sealed,
            claims,
        }
    }

    fn document(&self) -> ResultDocument {
        self.signed_by(&self.key)
    }

    fn document_with(&self, receipt: &str) -> ResultDocument {
        ResultDocument {
            receipt: receipt.to_owned(),
            ..self.document()
        }
    }

    fn signed_by(&self, key: &ReceiptKey) -> ResultDocument {
        ResultDocument {
            jwe: self.sealed.jwe.clone(),
            receipt: key.sign(&self.claims).unwrap(),
            evidence: self.evidence.clone(),
        }
    }
}

fn settings() -> Digest {
    Digest::of(b"settings")
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// `sample` evidence over claims: what the sample TEE gives, without a TEE.
fn bundle(claims: &Claims) -> EvidenceBundle {
    let report_data = STANDARD.encode(claims.report_data().unwrap().as_bytes());
    let evidence = json!({"svn": "1", "report_data": report_data});
    EvidenceBundle::new(
        Evidence {
            tee: TeeName::SAMPLE,
            evidence,
        },
        claims,
    )
}

fn workload() -> WorkloadClaims {
    WorkloadClaims {
        component_digest: Digest::of(b"component"),
        image_digest: Some(Digest::of(b"image")),
        policy_digest: None,
        task_id: "task-1".to_owned(),
    }
}

fn receipt(evidence: &EvidenceBundle, sealed: &Sealed, recipients: &[PublicKey]) -> ReceiptClaims {
    ReceiptClaims {
        task_id: "task-1".to_owned(),
        sequence: 1,
        outcome: RunOutcome::Completed,
        component_digest: Digest::of(b"component"),
        image_digest: Some(Digest::of(b"image")),
        policy_digest: Some(Digest::of(b"policy")),
        settings_digest: settings(),
        attester: "sample".to_owned(),
        export: "run".to_owned(),
        arguments_digest: of_arguments::<&str>(&[]).unwrap(),
        environment_digest: of_environment(&BTreeMap::new()).unwrap(),
        inputs_digest: of_inputs(&["10", "20"]).unwrap(),
        result_digest: sealed.digest,
        recipients: recipients.iter().map(PublicKey::thumbprint).collect(),
        flavour: proplet_hal::Flavour::Sealed,
        limits: BTreeMap::from([("memory_bytes".to_owned(), u64::MAX)]),
        untrusted_start: now().into(),
        untrusted_finish: now().into(),
        audit_head: Some("00".to_owned()),
        invocation_id: None,
        evidence_digest: evidence.digest().unwrap(),
    }
}

fn lenient() -> TrustPolicy {
    TrustPolicy::hardware()
        .unwrap()
        .accepting_sample_evidence_that_proves_nothing()
}

fn check(document: &ResultDocument, expectations: &Expectations) -> Result<Report, VerifyError> {
    verify(document, &lenient(), expectations, now())
}

fn refusal(document: &ResultDocument) -> VerifyError {
    check(document, &Expectations::of_any_measurement()).unwrap_err()
}

fn opened(run: &Run, document: &ResultDocument) -> Result<Opened, OpenError> {
    open(
        document,
        &run.owner,
        &lenient(),
        &Expectations::of_any_measurement(),
        now(),
    )
}

#[test]
fn an_untouched_document_verifies_and_opens() {
    let run = Run::new();
    let document = ResultDocument::from_text(&run.document().to_text().unwrap()).unwrap();
    assert_eq!(document, run.document_with(&document.receipt));
    let opened = opened(&run, &document).unwrap();
    assert_eq!(opened.content.as_slice(), b"42");
    assert_eq!(opened.media_type, "text/plain");
    assert!(opened.failure().is_none());
    let report = opened.report;
    assert_eq!(report.receipt.as_ref(), Some(&run.claims));
    assert_eq!(report.claims.as_ref().unwrap().kind(), ClaimsKind::Instance);
    for name in [Check::Claims, Check::ReceiptSignature, Check::ReceiptKey] {
        assert_eq!(report.check(name), Some(&CheckOutcome::Verified), "{name}");
    }
}

#[test]
fn what_nobody_expected_is_not_verified_and_says_so() {
    let report = check(&Run::new().document(), &Expectations::of_any_measurement()).unwrap();
    let open_points: Vec<Check> = report
        .not_verified_checks()
        .map(|(check, _)| check)
        .collect();
    assert_eq!(
        open_points,
        [
            Check::Evidence,
            Check::Measurement,
            Check::InitData,
            Check::Settings,
            Check::Component,
            Check::Image,
            Check::Policy,
            Check::TaskId,
            Check::InvocationId,
            Check::Export,
            Check::Inputs,
            Check::Arguments,
            Check::Environment,
            Check::Recipients
        ]
    );
    assert!(!report.is_complete());
    let text = report.to_string();
    assert!(
        text.contains("measurement: not verified, any launch measurement was accepted\n"),
        "{text}"
    );
    assert!(text.contains("receipt-signature: verified\n"), "{text}");
}

#[test]
fn nothing_verifies_unless_a_measurement_is_expected_or_any_is_accepted() {
    let run = Run::new();
    let document = run.document();
    let none = Expectations::of_measurements([]);
    let refused = check(&document, &none).unwrap_err();
    assert!(
        matches!(refused, VerifyError::NoExpectedMeasurement { .. }),
        "{refused}"
    );
    let refused = verify_bundle(&document.evidence, &lenient(), &none, now()).unwrap_err();
    assert!(
        matches!(refused, VerifyError::NoExpectedMeasurement { .. }),
        "{refused}"
    );
    let refused = open(&document, &run.owner, &lenient(), &none, now()).unwrap_err();
    assert!(matches!(refused, OpenError::Verify(_)), "{refused}");

    let report = check(&document, &Expectations::of_any_measurement()).unwrap();
    assert!(report.to_string().contains("WARNING: ANY MEASUREMENT"));
}

#[test]
fn fakes_are_reported_loudly() {
    let run = Run::new();
    let report = check(&run.document(), &Expectations::of_any_measurement()).unwrap();
    assert_eq!(report.anchor, Anchor::Nothing);
    assert!(
        report
            .to_string()
            .starts_with("WARNING: the evidence is SAMPLE EVIDENCE")
    );

    let evidence = bundle(&Claims::instance(&run.key, settings(), "fake-snp").unwrap());
    let report = verify_bundle(
        &evidence,
        &lenient(),
        &Expectations::of_any_measurement(),
        now(),
    )
    .unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("\"fake-snp\": it is a FAKE"))
    );

    let strict = TrustPolicy::hardware().unwrap();
    assert_eq!(
        verify(
            &run.document(),
            &strict,
            &Expectations::of_any_measurement(),
            now()
        )
        .unwrap_err(),
        VerifyError::Evidence(AppraisalError::SampleRefused)
    );
}

/// One expectation, set to what the run says, and set to something else.
type Expect = (Check, fn(&mut Expectations, bool));

const EXPECTATIONS: [Expect; 11] = [
    (Check::Settings, |e, right| {
        e.settings = Some(Digest::of(pick(right, b"settings")))
    }),
    (Check::Component, |e, right| {
        e.component = Some(Digest::of(pick(right, b"component")))
    }),
    (Check::Image, |e, right| {
        e.image = Some(Digest::of(pick(right, b"image")))
    }),
    (Check::Policy, |e, right| {
        e.policy = Some(Digest::of(pick(right, b"policy")))
    }),
    (Check::TaskId, |e, right| {
        e.task_id = Some(if right { "task-1" } else { "task-2" }.to_owned())
    }),
    (Check::InvocationId, |e, right| {
        e.invocation = Some(if right {
            ExpectedInvocation::Absent
        } else {
            invocation("invocation-1")
        })
    }),
    (Check::Export, |e, right| {
        e.export = Some(if right { "run" } else { "other" }.to_owned())
    }),
    (Check::Inputs, |e, right| {
        e.inputs = Some(of_inputs(&["10", if right { "20" } else { "21" }]).unwrap());
    }),
    (Check::Arguments, |e, right| {
        let arguments: &[&str] = if right { &[] } else { &["--invoke", "x"] };
        e.arguments = Some(of_arguments(arguments).unwrap());
    }),
    (Check::Environment, |e, right| {
        let mut env = BTreeMap::new();
        if !right {
            env.insert("A".to_owned(), "1".to_owned());
        }
        e.environment = Some(of_environment(&env).unwrap());
    }),
    (Check::Recipients, |e, right| {
        if !right {
            e.recipients = Some(vec!["somebody".to_owned()]);
        }
    }),
];

fn invocation(id: &str) -> ExpectedInvocation {
    ExpectedInvocation::Id(id.to_owned())
}

fn pick(right: bool, bytes: &[u8]) -> &[u8] {
    if right { bytes } else { b"other" }
}

#[test]
fn each_expectation_is_checked() {
    let run = Run::new();
    let document = run.document();
    let mut all = Expectations {
        recipients: Some(vec![run.owner.public().thumbprint()]),
        ..Expectations::of_any_measurement()
    };
    for (tested, expect) in EXPECTATIONS {
        expect(&mut all, true);
        let mut wrong = Expectations::of_any_measurement();
        expect(&mut wrong, false);
        let refused = check(&document, &wrong).unwrap_err();
        assert!(
            matches!(refused, VerifyError::Unexpected { check, .. } if check == tested),
            "{refused}"
        );
    }
    let report = check(&document, &all).unwrap();
    for (name, _) in EXPECTATIONS {
        assert_eq!(report.check(name), Some(&CheckOutcome::Verified), "{name}");
    }
    let open_points: Vec<Check> = report
        .not_verified_checks()
        .map(|(check, _)| check)
        .collect();
    assert_eq!(
        open_points,
        [Check::Evidence, Check::Measurement, Check::InitData]
    );
}

#[test]
fn one_run_of_a_task_does_not_pass_for_another() {
    let mut run = Run::new();
    let mut of = |id: Option<&str>| {
        run.claims.invocation_id = id.map(str::to_owned);
        run.document()
    };
    let (plain, one, absent) = (of(None), of(Some("1")), of(Some("absent")));
    let outcome = |document: &ResultDocument, expected: Option<ExpectedInvocation>| {
        let expectations = Expectations {
            invocation: expected,
            ..Expectations::of_any_measurement()
        };
        let report = check(document, &expectations)?;
        Ok::<_, VerifyError>(report.check(Check::InvocationId).cloned())
    };
    let right = [
        (&plain, ExpectedInvocation::Absent),
        (&one, invocation("1")),
        (&absent, invocation("absent")),
    ];
    for (document, expected) in right {
        let found = outcome(document, Some(expected)).unwrap();
        assert_eq!(found, Some(CheckOutcome::Verified));
        let open = outcome(document, None).unwrap();
        assert!(
            matches!(open, Some(CheckOutcome::NotVerified(_))),
            "{open:?}"
        );
    }
    for (document, expected, words) in [
        (&plain, invocation("1"), "is absent, expected \"1\""),
        (
            &plain,
            invocation("absent"),
            "is absent, expected \"absent\"",
        ),
        (&one, invocation("2"), "is \"1\", expected \"2\""),
        (
            &one,
            ExpectedInvocation::Absent,
            "is \"1\", expected absent",
        ),
        (
            &absent,
            ExpectedInvocation::Absent,
            "is \"absent\", expected absent",
        ),
    ] {
        let refused = outcome(document, Some(expected)).unwrap_err().to_string();
        assert_eq!(refused, format!("the invocation-id {words}"));
    }
}

#[test]
fn an_expectation_that_the_evidence_cannot_meet_fails() {
    let document = Run::new().document();
    for expectations in [
        Expectations {
            ..Expectations::of_measurements([vec![1; 48]])
        },
        Expectations {
            init_data: Some(vec![1; 32]),
            ..Expectations::of_any_measurement()
        },
        Expectations {
            init_data: Some(Vec::new()),
            ..Expectations::of_any_measurement()
        },
        Expectations {
            init_data: Some(vec![0; 32]),
            ..Expectations::of_any_measurement()
        },
        Expectations {
            challenge: Some(vec![1; 32]),
            ..Expectations::of_any_measurement()
        },
    ] {
        let refused = check(&document, &expectations).unwrap_err();
        assert!(
            matches!(refused, VerifyError::Unexpected { .. }),
            "{refused}"
        );
    }
}

#[test]
fn another_key_cannot_sign_receipts() {
    let run = Run::new();
    let refused = refusal(&run.signed_by(&ReceiptKey::generate().unwrap()));
    assert!(
        matches!(refused, VerifyError::ReceiptKey { .. }),
        "{refused}"
    );
}

#[test]
fn evidence_of_a_workload_vouches_for_no_receipt() {
    let mut run = Run::new();
    let claims =
        Claims::workload(b"challenge", &run.key, settings(), "sample", workload()).unwrap();
    run.evidence = bundle(&claims);
    run.claims.evidence_digest = run.evidence.digest().unwrap();
    assert_eq!(
        refusal(&run.document()),
        VerifyError::Kind(ClaimsKind::Workload)
    );
}

#[test]
fn claims_and_evidence_belong_together() {
    let run = Run::new();
    let mut document = run.document();
    let other = Claims::instance(&run.key, Digest::of(b"other settings"), "sample").unwrap();
    document.evidence.claims = other.to_members();
    assert_eq!(refusal(&document), VerifyError::ReportData);
    document
        .evidence
        .claims
        .insert("tee-pubkey".to_owned(), "x".into());
    assert!(matches!(refusal(&document), VerifyError::Claims(_)));
}

#[test]
fn the_parts_of_a_document_belong_together() {
    let (run, other) = (Run::new(), Run::new());
    let exchanged = ResultDocument {
        jwe: other.sealed.jwe.clone(),
        ..run.document()
    };
    let mismatch = |what| VerifyError::Mismatch { part: "jwe", what };
    assert_eq!(refusal(&exchanged), mismatch("digest of the sealed result"));

    // The same host, attested anew: the receipt names the evidence that it was signed under.
    let renewed = bundle(&Claims::instance(&run.key, settings(), "sample").unwrap());
    let exchanged = ResultDocument {
        evidence: renewed,
        ..run.document()
    };
    let mismatch = |what| VerifyError::Mismatch {
        part: "evidence",
        what,
    };
    assert_eq!(refusal(&exchanged), mismatch("digest of the evidence"));

    let mut run = Run::new();
    run.claims.settings_digest = Digest::of(b"other");
    assert_eq!(refusal(&run.document()), mismatch("settings"));

    let mut run = Run::new();
    run.claims.attester = "snp".to_owned();
    assert_eq!(refusal(&run.document()), mismatch("attester"));
    run.claims.attester = "sample".to_owned();
    run.claims.flavour = proplet_hal::Flavour::Debug;
    assert_eq!(
        refusal(&run.document()),
        mismatch("flavour of the VM image")
    );

    let mut run = Run::new();
    run.claims.recipients.push("somebody".to_owned());
    let mismatch = |what| VerifyError::Mismatch { part: "jwe", what };
    assert_eq!(refusal(&run.document()), mismatch("recipients"));
}

#[test]
fn a_receipt_of_another_form_is_refused() {
    let run = Run::new();
    let receipt = run.document().receipt;
    let parts: Vec<&str> = receipt.split('.').collect();
    let cut = run.document_with(&format!("{}.{}", parts[0], parts[1]));
    assert!(matches!(
        refusal(&cut),
        VerifyError::Receipt(ReceiptError::Jose(_))
    ));

    // Signed by the right key, but for another purpose, or saying something else.
    let key = proplet_jose::jws::SigningKey::generate().unwrap();
    let header = |typ: &str, jwk| {
        let mut header = serde_json::Map::new();
        header.insert("typ".to_owned(), typ.into());
        if jwk {
            header.insert("jwk".to_owned(), key.public_jwk());
        }
        header
    };
    let payload = serde_json::to_string(&run.claims).unwrap();
    let sign = |header, payload: &str| {
        run.document_with(&key.sign_compact(&header, payload.as_bytes()).unwrap())
    };
    let typ = "proplet-receipt+jws";
    let refused = refusal(&sign(header("JWT", true), &payload));
    assert_eq!(refused, VerifyError::Receipt(ReceiptError::Type));
    let refused = refusal(&sign(header(typ, false), &payload));
    assert_eq!(refused, VerifyError::Receipt(ReceiptError::NoKey));
    for wrong in [
        "{}".to_owned(),
        payload.replacen('{', r#"{"extra":1,"#, 1),
        payload.replace("\"completed\"", "\"great\""),
        payload.replace("sha256:", "sha257:"),
    ] {
        let refused = refusal(&sign(header(typ, true), &wrong));
        assert!(
            matches!(refused, VerifyError::Receipt(ReceiptError::Payload(_))),
            "{refused}"
        );
    }
    let doubled = payload.replacen('{', r#"{"task_id":"other","#, 1);
    let refused = refusal(&sign(header(typ, true), &doubled));
    assert!(
        matches!(refused, VerifyError::Receipt(ReceiptError::Jose(_))),
        "{refused}"
    );
    // What was not wrong so far is only whose key it is.
    let refused = refusal(&sign(header(typ, true), &payload));
    assert!(
        matches!(refused, VerifyError::ReceiptKey { .. }),
        "{refused}"
    );
}

#[test]
fn nothing_is_opened_that_does_not_verify() {
    let run = Run::new();
    // Anybody can seal to the owner's public key.
    let forged = seal(b"43", "text/plain", &[run.owner.public().clone()]).unwrap();
    let document = ResultDocument {
        jwe: forged.jwe,
        ..run.document()
    };
    assert!(matches!(opened(&run, &document), Err(OpenError::Verify(_))));

    let other = PrivateKey::generate_x25519().unwrap();
    let refused = open(
        &run.document(),
        &other,
        &lenient(),
        &Expectations::of_any_measurement(),
        now(),
    );
    assert!(matches!(refused, Err(OpenError::Decrypt(_))));
}

#[test]
fn a_jwe_of_another_protocol_is_not_a_result() {
    let good: &[u8] = b"\x0atext/plain42";
    let typ = |typ: &str| [("typ".to_owned(), typ.into())].into_iter().collect();
    let mut with_words: serde_json::Map<_, _> = typ("proplet-result+jwe");
    with_words.insert("cty".to_owned(), "text/plain".into());
    for (header, plaintext) in [
        (serde_json::Map::new(), good),
        (typ("other"), good),
        (with_words, good),
        (typ("proplet-result+jwe"), b""),
        (typ("proplet-result+jwe"), b"42"),
        (typ("proplet-result+jwe"), b"\x0btext/plain"),
    ] {
        let mut run = Run::new();
        let recipients = [run.owner.public().clone()];
        let jwe = proplet_jose::jwe::encrypt(&[plaintext], &recipients, &header).unwrap();
        run.sealed = Sealed {
            digest: proplet_results::digest::of_json(&jwe).unwrap(),
            jwe,
        };
        run.claims.result_digest = run.sealed.digest;
        assert!(matches!(
            opened(&run, &run.document()),
            Err(OpenError::NotAResult)
        ));
    }
}

#[test]
fn failures_are_sealed_and_told_from_results() {
    let mut run = Run::new();
    let failure = Failure {
        error: "divided by zero".to_owned(),
        stderr: "d\u{e9}j\u{e0} vu".to_owned(),
    };
    let recipients = [run.owner.public().clone()];
    run.sealed = failure.seal(&recipients).unwrap();
    run.claims.result_digest = run.sealed.digest;
    assert!(matches!(
        opened(&run, &run.document()),
        Err(OpenError::Outcome {
            receipt: RunOutcome::Completed
        })
    ));
    run.claims.outcome = RunOutcome::Failed;
    let read = opened(&run, &run.document()).unwrap();
    assert_eq!(read.failure(), Some(failure));
    assert!(!format!("{read:?} {:?}", read.failure()).contains("zero"));

    run = Run::new();
    run.claims.outcome = RunOutcome::Failed;
    assert!(matches!(
        opened(&run, &run.document()),
        Err(OpenError::Outcome {
            receipt: RunOutcome::Failed
        })
    ));
}

#[test]
fn bundles_verify_against_a_challenge() {
    let key = ReceiptKey::generate().unwrap();
    let claims = Claims::workload(b"fresh", &key, settings(), "sample", workload()).unwrap();
    let evidence: EvidenceBundle = bundle(&claims).to_text().unwrap().parse().unwrap();
    let check =
        |expectations: &Expectations| verify_bundle(&evidence, &lenient(), expectations, now());

    let report = check(&Expectations::of_any_measurement()).unwrap();
    assert!(matches!(
        report.check(Check::Challenge),
        Some(CheckOutcome::NotVerified(_))
    ));
    assert_eq!(report.receipt, None);

    let mut expectations = Expectations {
        challenge: Some(b"fresh".to_vec()),
        component: Some(Digest::of(b"component")),
        image: Some(Digest::of(b"image")),
        task_id: Some("task-1".to_owned()),
        settings: Some(settings()),
        ..Expectations::of_any_measurement()
    };
    let report = check(&expectations).unwrap();
    for name in [
        Check::Challenge,
        Check::Component,
        Check::Image,
        Check::TaskId,
        Check::Settings,
    ] {
        assert_eq!(report.check(name), Some(&CheckOutcome::Verified), "{name}");
    }

    expectations.challenge = Some(b"stale".to_vec());
    let refused = check(&expectations).unwrap_err();
    assert!(
        matches!(
            refused,
            VerifyError::Unexpected {
                check: Check::Challenge,
                ..
            }
        ),
        "{refused}"
    );

    // The component runs without a policy: to expect one is a refusal, not a blank.
    let expectations = Expectations {
        policy: Some(settings()),
        ..Expectations::of_any_measurement()
    };
    let refused = check(&expectations).unwrap_err();
    assert!(
        matches!(
            refused,
            VerifyError::Unexpected {
                check: Check::Policy,
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn expectations_that_a_bundle_cannot_answer_fail() {
    let key = ReceiptKey::generate().unwrap();
    let instance = bundle(&Claims::instance(&key, settings(), "sample").unwrap());
    let claims = Claims::workload(b"fresh", &key, settings(), "sample", workload()).unwrap();
    let of_workload = bundle(&claims);
    for (tested, expect) in EXPECTATIONS {
        let mut expectations = Expectations::of_any_measurement();
        expect(&mut expectations, true);
        if tested == Check::Recipients {
            expectations.recipients = Some(Vec::new());
        }
        let answered = |evidence| verify_bundle(evidence, &lenient(), &expectations, now()).is_ok();
        assert_eq!(answered(&instance), tested == Check::Settings, "{tested}");
        let about_workload = [
            Check::Settings,
            Check::Component,
            Check::Image,
            Check::TaskId,
        ]
        .contains(&tested);
        assert_eq!(answered(&of_workload), about_workload, "{tested}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever character of a document changes: it does not verify, or nothing in it changed.
    #[test]
    fn changed_documents_are_refused(place in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_\" {}:,.-]") {
        let run = Run::new();
        let document = run.document();
        let mut text = document.to_text().unwrap();
        let place = place.index(text.len());
        text.replace_range(place..=place, &to);
        if let Ok(read) = ResultDocument::from_text(&text) && read != document {
            prop_assert!(check(&read, &Expectations::of_any_measurement()).is_err(), "{}", text);
        }
    }

    #[test]
    fn receipts_never_panic(receipt in "[A-Za-z0-9_.=-]{0,80}") {
        prop_assert!(check(&Run::new().document_with(&receipt), &Expectations::of_any_measurement()).is_err());
    }

    #[test]
    fn keys_and_claims_round_trip(nonce in proptest::collection::vec(any::<u8>(), 1..=64), task in ".{1,40}") {
        let key = ReceiptKey::generate().unwrap();
        let named = WorkloadClaims { task_id: task, ..workload() };
        let claims = Claims::workload(&nonce, &key, settings(), "snp", named).unwrap();
        let read = Claims::from_json(claims.to_jcs().unwrap().as_bytes()).unwrap();
        prop_assert_eq!(b64::encode(read.nonce()), b64::encode(&nonce));
        prop_assert_eq!(read, claims);
    }
}
