use std::sync::{Arc, LazyLock};

use proplet_runtime::{AttestationError, Input, TaskLimits};
use proplet_types::Digest;
use ring::digest::{SHA512, digest};

use crate::fakes::{Fake, error, run_with, task, value};
use crate::guests::{MEMORY, component};

/// Passes every function of the interface on, and asks for evidence several times when told to.
static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pass_on = [
        "component-digest",
        "image-digest",
        "policy-digest",
        "settings-digest",
        "task-id",
        "tee",
    ];
    let import = |name: &str| {
        format!(
            r#"(import "propeller:confidential/attestation@0.1.0" "{name}" (func ${name} (param i32)))"#
        )
    };
    let export = |name: &str| {
        format!(
            r#"(func (export "{name}") (result i32) (call ${name} (i32.const 1024)) (i32.const 1024))"#
        )
    };
    let methods = ["tee", "claims", "report-data", "evidence", "to-json"];
    let import_method = |name: &str| {
        format!(
            r#"(import "propeller:confidential/attestation@0.1.0" "[method]evidence-bundle.{name}"
                 (func $bundle-{name} (param i32 i32)))"#
        )
    };
    let call_method = |(index, name): (usize, &&str)| {
        format!(
            "(call $bundle-{name} (local.get $bundle) (i32.const {}))",
            1028 + 8 * index
        )
    };
    let core = format!(
        r#"
        {imports} {method_imports}
        (import "propeller:confidential/attestation@0.1.0" "is-hardware" (func $is-hardware (result i32)))
        (import "propeller:confidential/attestation@0.1.0" "evidence" (func $evidence (param i32 i32 i32)))
        (import "propeller:confidential/attestation@0.1.0" "[resource-drop]evidence-bundle"
          (func $drop (param i32)))
        {MEMORY} {exports}
        (func (export "is-hardware") (result i32) call $is-hardware)
        (func (export "evidence") (param $at i32) (param $len i32) (result i32) (local $bundle i32)
          (call $evidence (local.get $at) (local.get $len) (i32.const 1024))
          (if (i32.load8_u (i32.const 1024)) (then (return (i32.const 1024))))
          (local.set $bundle (i32.load (i32.const 1028)))
          {method_calls}
          (call $drop (local.get $bundle))
          (i32.const 1024))
        (func (export "often") (param $times i32) (param $keep i32) (result i32)
          (loop $again
            (call $evidence (i32.const 0) (i32.const 1) (i32.const 1024))
            (if (i32.load8_u (i32.const 1024)) (then (return (i32.const 1024))))
            (if (i32.eqz (local.get $keep)) (then (call $drop (i32.load (i32.const 1028)))))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
          (i32.const 1024))
        "#,
        imports = pass_on.map(import).join("\n"),
        exports = pass_on.map(export).join("\n"),
        method_imports = methods.map(import_method).join("\n"),
        method_calls = methods
            .iter()
            .enumerate()
            .map(call_method)
            .collect::<String>(),
    );
    component(
        "use propeller:confidential/attestation@0.1.0.{attestation-error};
         import propeller:confidential/attestation@0.1.0;
         export component-digest: func() -> string;
         export image-digest: func() -> option<string>;
         export policy-digest: func() -> option<string>;
         export settings-digest: func() -> string;
         export task-id: func() -> string;
         export tee: func() -> option<string>;
         export is-hardware: func() -> bool;
         export evidence: func(challenge: list<u8>)
           -> result<tuple<string, string, list<u8>, list<u8>, list<u8>>, attestation-error>;
         export often: func(times: u32, keep: bool) -> result<_, attestation-error>;",
        &core,
    )
});

async fn call(fake: Fake, export: &str, inputs: &[&str]) -> Result<String, String> {
    let outcome = run_with(&GUEST, task(export, inputs), &Arc::new(fake)).await;
    match &outcome.value {
        Ok(_) => Ok(value(&outcome)),
        Err(_) => {
            let (code, detail) = error(&outcome);
            assert_eq!(code, "guest-failed", "{detail}");
            Err(detail)
        }
    }
}

#[tokio::test]
async fn identity_is_the_hosts_word() {
    let digest_of = |text: &str| Digest::of(text.as_bytes());
    for (export, expected) in [
        (
            "component-digest",
            format!("\"{}\"", digest_of("component")),
        ),
        ("image-digest", "none".to_owned()),
        (
            "policy-digest",
            format!("some(\"{}\")", digest_of("policy")),
        ),
        ("settings-digest", format!("\"{}\"", digest_of("settings"))),
        ("task-id", "\"task-1\"".to_owned()),
        ("tee", "some(\"snp\")".to_owned()),
        ("is-hardware", "true".to_owned()),
    ] {
        let fake = Fake {
            policy_digest: Some(digest_of("policy")),
            ..Fake::default()
        };
        assert_eq!(call(fake, export, &[]).await.unwrap(), expected, "{export}");
    }
}

#[tokio::test]
async fn a_fake_tee_is_no_hardware() {
    for tee in [Some("sample"), None] {
        let fake = Fake {
            tee,
            ..Fake::default()
        };
        assert_eq!(call(fake, "is-hardware", &[]).await.unwrap(), "false");
    }
}

#[tokio::test]
async fn evidence_comes_with_its_claims() {
    let text = call(Fake::default(), "evidence", &["nonce"]).await.unwrap();
    let claims = r#"{"eat_nonce":"nonce"}"#;
    let report_data = digest(&SHA512, claims.as_bytes());
    let numbers = |bytes: &[u8]| {
        bytes
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(
        text,
        format!(
            r#"ok(("snp", "{}", [{}], [123, 125], [91, 93]))"#,
            claims.replace('"', "\\\""),
            numbers(report_data.as_ref())
        )
    );
}

#[tokio::test]
async fn a_challenge_has_at_most_64_bytes() {
    call(Fake::default(), "evidence", &[&"x".repeat(64)])
        .await
        .unwrap();
    call(Fake::default(), "evidence", &[""]).await.unwrap();
    let refused = call(Fake::default(), "evidence", &[&"x".repeat(65)])
        .await
        .unwrap_err();
    assert_eq!(refused, "challenge-too-long(65)");
}

#[tokio::test]
async fn each_refusal_has_its_variant() {
    for (refusal, expected) in [
        (AttestationError::NoTee, "no-tee"),
        (
            AttestationError::Unavailable("busy".into()),
            "unavailable(\"busy\")",
        ),
        (AttestationError::Other("odd".into()), "other(\"odd\")"),
    ] {
        let fake = Fake {
            evidence: Some(refusal),
            ..Fake::default()
        };
        assert_eq!(call(fake, "evidence", &["x"]).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn the_quota_counts_requests() {
    let fake = Arc::new(Fake::default());
    let outcome = run_with(&GUEST, task("often", &["16", "false"]), &fake).await;
    assert_eq!(value(&outcome), "ok");
    assert_eq!(outcome.usage.evidence, 16);
    let outcome = run_with(&GUEST, task("often", &["17", "false"]), &fake).await;
    assert_eq!(error(&outcome).1, "quota-exceeded(16)");
    assert_eq!(outcome.usage.evidence, 16);
}

#[tokio::test]
async fn a_quota_of_zero_gives_none() {
    let mut task = task("evidence", &["x"]);
    task.limits = TaskLimits {
        evidence_quota: 0,
        ..TaskLimits::default()
    };
    let outcome = run_with(&GUEST, task, &Arc::new(Fake::default())).await;
    assert_eq!(error(&outcome).1, "quota-exceeded(0)");
}

#[tokio::test]
async fn bundles_are_handles() {
    let mut task = task("often", &["4", "true"]);
    task.limits = TaskLimits {
        handles: 3,
        ..TaskLimits::default()
    };
    let outcome = run_with(&GUEST, task, &Arc::new(Fake::default())).await;
    let (code, detail) = error(&outcome);
    assert_eq!(code, "guest-failed");
    assert!(
        detail.starts_with("other(\"the task holds 3 handles"),
        "{detail}"
    );
}

#[tokio::test]
async fn the_challenge_may_be_any_bytes() {
    let mut task = task("evidence", &[]);
    task.inputs = vec![Input {
        bytes: vec![0xff, 0, 0x80].into(),
        media_type: None,
    }];
    let outcome = run_with(&GUEST, task, &Arc::new(Fake::default())).await;
    assert!(outcome.value.is_ok());
}
