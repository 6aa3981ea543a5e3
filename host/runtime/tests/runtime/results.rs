use std::sync::{Arc, LazyLock};

use proplet_runtime::{Outcome, PublishError, TaskLimits};

use crate::fakes::{Fake, error, run_with, task, value};
use crate::guests::{MEMORY, component};

static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "use propeller:confidential/results@0.1.0.{publish-error};
         import propeller:confidential/results@0.1.0;
         export publish: func(content: list<u8>, media-type: string)
           -> result<tuple<option<string>, string>, publish-error>;
         export twice: func(content: list<u8>, media-type: string) -> result<_, publish-error>;
         export then-trap: func(content: list<u8>, media-type: string) -> string;
         export recipients: func() -> list<string>;",
        &format!(
            r#"
            (import "propeller:confidential/results@0.1.0" "publish" (func $publish (param i32 i32 i32 i32 i32)))
            (import "propeller:confidential/results@0.1.0" "recipients" (func $recipients (param i32)))
            (import "propeller:confidential/results@0.1.0" "[method]receipt.jws" (func $jws (param i32 i32)))
            (import "propeller:confidential/results@0.1.0" "[method]receipt.result-digest"
              (func $digest (param i32 i32)))
            {MEMORY}
            (func $call (param i32 i32 i32 i32)
              (call $publish (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 1024)))
            (func (export "publish") (param i32 i32 i32 i32) (result i32) (local $receipt i32)
              (call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3))
              (if (i32.load8_u (i32.const 1024)) (then (return (i32.const 1024))))
              (local.set $receipt (i32.load (i32.const 1032)))
              (call $jws (local.get $receipt) (i32.const 1032))
              (call $digest (local.get $receipt) (i32.const 1044))
              (i32.const 1024))
            (func (export "twice") (param i32 i32 i32 i32) (result i32)
              (call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3))
              (call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3))
              (i32.const 1024))
            (func (export "then-trap") (param i32 i32 i32 i32) (result i32)
              (call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3))
              unreachable)
            (func (export "recipients") (result i32)
              (call $recipients (i32.const 1024)) (i32.const 1024))
            "#
        ),
    )
});

async fn call(export: &str, inputs: &[&str], limits: TaskLimits, fake: &Arc<Fake>) -> Outcome {
    let mut task = task(export, inputs);
    task.limits = limits;
    run_with(&GUEST, task, fake).await
}

#[tokio::test]
async fn a_result_is_published_with_a_receipt() {
    let fake = Arc::new(Fake::default());
    let outcome = call(
        "publish",
        &["42", "text/plain"],
        TaskLimits::default(),
        &fake,
    )
    .await;
    assert_eq!(value(&outcome), "ok((some(\"e30.e30.AA\"), \"sha256:0f\"))");
    assert!(outcome.published);
    assert_eq!(
        *fake.published.lock().unwrap(),
        [(b"42".to_vec(), "text/plain".to_owned())]
    );
}

#[tokio::test]
async fn there_is_one_result_per_task() {
    let fake = Arc::new(Fake::default());
    let outcome = call("twice", &["42", "text/plain"], TaskLimits::default(), &fake).await;
    assert_eq!(
        error(&outcome),
        ("guest-failed", "already-published".to_owned())
    );
    assert_eq!(fake.published.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_task_that_traps_after_publishing_has_failed() {
    let fake = Arc::new(Fake::default());
    let outcome = call(
        "then-trap",
        &["42", "text/plain"],
        TaskLimits::default(),
        &fake,
    )
    .await;
    assert_eq!(error(&outcome).0, "guest-trapped");
    assert!(outcome.published);
}

#[tokio::test]
async fn each_refusal_has_its_variant() {
    for (refusal, expected) in [
        (PublishError::NotText, "not-text"),
        (PublishError::TooLarge(3), "too-large(3)"),
        (PublishError::Other("odd".into()), "other(\"odd\")"),
    ] {
        let fake = Arc::new(Fake {
            publish: Some(refusal),
            ..Fake::default()
        });
        let outcome = call("twice", &["42", "text/plain"], TaskLimits::default(), &fake).await;
        assert_eq!(error(&outcome).1, expected);
        assert!(!outcome.published);
        assert_eq!(outcome.usage.output_bytes, 0);
    }
}

#[tokio::test]
async fn media_types_are_checked() {
    let fake = Arc::new(Fake::default());
    for media_type in ["", "text", "text/plain\r\nx: y"] {
        let outcome = call("publish", &["42", media_type], TaskLimits::default(), &fake).await;
        assert!(
            error(&outcome).1.starts_with("invalid-media-type("),
            "{media_type}"
        );
    }
    assert!(fake.published.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_result_counts_as_output() {
    let limits = TaskLimits {
        output_bytes: 10,
        ..TaskLimits::default()
    };
    let fake = Arc::new(Fake::default());
    let outcome = call(
        "publish",
        &["0123456789", "text/plain"],
        limits.clone(),
        &fake,
    )
    .await;
    assert!(
        outcome.value.is_ok(),
        "the value does not count beside a published result"
    );
    assert_eq!(outcome.usage.output_bytes, 10);
    let outcome = call("publish", &["0123456789a", "text/plain"], limits, &fake).await;
    assert_eq!(error(&outcome).1, "too-large(10)");
}

#[tokio::test]
async fn a_receipt_is_a_handle() {
    let mut limits = TaskLimits {
        handles: 1,
        ..TaskLimits::default()
    };
    let fake = Arc::new(Fake::default());
    assert!(
        call("publish", &["42", "text/plain"], limits.clone(), &fake)
            .await
            .value
            .is_ok()
    );
    limits.handles = 0;
    let outcome = call("publish", &["42", "text/plain"], limits, &fake).await;
    assert!(
        error(&outcome)
            .1
            .starts_with("other(\"the task holds 0 handles")
    );
    assert_eq!(
        fake.published.lock().unwrap().len(),
        1,
        "nothing is taken without a receipt"
    );
}

#[tokio::test]
async fn recipients_are_listed() {
    let fake = Arc::new(Fake::default());
    let outcome = call("recipients", &[], TaskLimits::default(), &fake).await;
    assert_eq!(value(&outcome), r#"["thumb", "print"]"#);
}
