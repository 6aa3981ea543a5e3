use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proplet_runtime::{Outcome, SecretError, TaskLimits};

use crate::fakes::{Fake, error, grants, run_with, task, value};
use crate::guests::{MEMORY, component};

const A: &str = "kbs:///default/key/a";
const B: &str = "kbs:///default/key/b";

/// Holds secrets without seeing them.
static HOLDS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "use propeller:confidential/secrets@0.1.0.{secret-error};
         import propeller:confidential/secrets@0.1.0;
         export get: func(uri: string) -> result<string, secret-error>;
         export hold: func(uri: string, times: u32) -> result<_, secret-error>;
         export churn: func(uri: string, times: u32) -> result<_, secret-error>;
         export insist: func(uri: string, times: u32) -> result<_, secret-error>;",
        &format!(
            r#"
            (import "propeller:confidential/secrets@0.1.0" "get" (func $get (param i32 i32 i32)))
            (import "propeller:confidential/secrets@0.1.0" "[method]secret.uri" (func $uri (param i32 i32)))
            (import "propeller:confidential/secrets@0.1.0" "[resource-drop]secret" (func $drop (param i32)))
            {MEMORY}
            (func (export "get") (param i32 i32) (result i32)
              (call $get (local.get 0) (local.get 1) (i32.const 1024))
              (if (i32.load8_u (i32.const 1024)) (then (return (i32.const 1024))))
              (call $uri (i32.load (i32.const 1032)) (i32.const 1032))
              (i32.const 1024))
            (func $many (param $at i32) (param $len i32) (param $times i32) (param $drop i32) (result i32)
              (loop $again
                (call $get (local.get $at) (local.get $len) (i32.const 1024))
                (if (i32.load8_u (i32.const 1024)) (then (return (i32.const 1024))))
                (if (local.get $drop) (then (call $drop (i32.load (i32.const 1032)))))
                (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
              (i32.const 1024))
            (func (export "hold") (param i32 i32 i32) (result i32)
              (call $many (local.get 0) (local.get 1) (local.get 2) (i32.const 0)))
            (func (export "churn") (param i32 i32 i32) (result i32)
              (call $many (local.get 0) (local.get 1) (local.get 2) (i32.const 1)))
            ;; Asks as often as told, whatever the answer, and gives the last.
            (func (export "insist") (param $at i32) (param $len i32) (param $times i32) (result i32)
              (loop $again
                (call $get (local.get $at) (local.get $len) (i32.const 1024))
                (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
              (i32.const 1024))
            "#
        ),
    )
});

/// Reveals a secret.
pub static REVEALS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "use propeller:confidential/reveal@0.1.0.{reveal-error};
         import propeller:confidential/secrets@0.1.0;
         import propeller:confidential/reveal@0.1.0;
         export reveal: func(uri: string) -> result<list<u8>, reveal-error>;",
        &format!(
            r#"
            (import "propeller:confidential/secrets@0.1.0" "get" (func $get (param i32 i32 i32)))
            (import "propeller:confidential/reveal@0.1.0" "reveal" (func $reveal (param i32 i32)))
            {MEMORY}
            (func (export "reveal") (param i32 i32) (result i32)
              (call $get (local.get 0) (local.get 1) (i32.const 1024))
              (if (i32.load8_u (i32.const 1024)) (then unreachable))
              (call $reveal (i32.load (i32.const 1032)) (i32.const 1024))
              (i32.const 1024))
            "#
        ),
    )
});

const HELD: &str = "exports = ['get', 'hold', 'churn', 'insist', 'reveal']\n[[secrets]]\nuri = 'kbs:///default/key/a'";
const SHOWN: &str = "exports = ['get', 'hold', 'churn', 'reveal']
    [[secrets]]\nuri = 'kbs:///default/key/a'\nreveal = true
    [[secrets]]\nuri = 'kbs:///default/key/b'";

fn fake(answer: Result<Vec<u8>, SecretError>) -> Arc<Fake> {
    let secrets = BTreeMap::from([(A, answer), (B, Ok(b"b".to_vec()))]);
    Arc::new(Fake {
        secrets,
        ..Fake::default()
    })
}

async fn hold(export: &str, inputs: &[&str], limits: TaskLimits, fake: &Arc<Fake>) -> Outcome {
    let mut task = task(export, inputs);
    task.grants = grants(HELD);
    task.limits = limits;
    run_with(&HOLDS, task, fake).await
}

#[tokio::test]
async fn a_granted_secret_is_held() {
    let fake = fake(Ok(b"hunter2".to_vec()));
    let outcome = hold("get", &[A], TaskLimits::default(), &fake).await;
    assert_eq!(value(&outcome), format!("ok(\"{A}\")"));
    assert_eq!(*fake.asked.lock().unwrap(), [A]);
}

#[tokio::test]
async fn the_key_broker_is_not_asked_for_what_is_not_granted() {
    let fake = fake(Ok(Vec::new()));
    for (uri, variant) in [
        (B, "not-granted("),
        ("kbs:///default/key", "invalid-uri("),
        ("kbs://elsewhere/default/key/a", "invalid-uri("),
        ("https://example.org/a/b/c", "invalid-uri("),
        ("", "invalid-uri("),
    ] {
        let outcome = hold("get", &[uri], TaskLimits::default(), &fake).await;
        let (code, detail) = error(&outcome);
        assert_eq!(code, "guest-failed");
        assert!(detail.starts_with(variant), "{uri}: {detail}");
    }
    assert!(fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_refusal_has_its_variant() {
    for (refusal, expected) in [
        (SecretError::InvalidUri("a".into()), "invalid-uri(\"a\")"),
        (SecretError::NotGranted("b".into()), "not-granted(\"b\")"),
        (SecretError::Denied("c".into()), "denied(\"c\")"),
        (SecretError::NotFound("d".into()), "not-found(\"d\")"),
        (SecretError::Unavailable("e".into()), "unavailable(\"e\")"),
        (SecretError::TooLarge(9), "too-large(9)"),
        (SecretError::Other("f".into()), "other(\"f\")"),
    ] {
        let outcome = hold("get", &[A], TaskLimits::default(), &fake(Err(refusal))).await;
        assert_eq!(error(&outcome).1, expected);
    }
}

#[tokio::test]
async fn a_secret_has_at_most_one_mebibyte() {
    let outcome = hold(
        "get",
        &[A],
        TaskLimits::default(),
        &fake(Ok(vec![1; 1 << 20])),
    )
    .await;
    assert!(outcome.value.is_ok());
    let outcome = hold(
        "get",
        &[A],
        TaskLimits::default(),
        &fake(Ok(vec![1; (1 << 20) + 1])),
    )
    .await;
    assert_eq!(error(&outcome).1, "too-large(1048576)");
}

#[tokio::test]
async fn handles_are_limited_and_given_back() {
    let limits = TaskLimits {
        handles: 10,
        secret_quota: 500,
        ..TaskLimits::default()
    };
    let fake = fake(Ok(b"x".to_vec()));
    let outcome = hold("hold", &[A, "10"], limits.clone(), &fake).await;
    assert_eq!(value(&outcome), "ok");
    let outcome = hold("hold", &[A, "11"], limits.clone(), &fake).await;
    assert_eq!(
        error(&outcome),
        ("guest-failed", "too-many-handles(10)".to_owned())
    );
    let outcome = hold("churn", &[A, "500"], limits, &fake).await;
    assert_eq!(value(&outcome), "ok");
}

#[tokio::test]
async fn held_secrets_are_memory_and_given_back() {
    let limits = TaskLimits {
        memory_bytes: 1 << 20,
        ..TaskLimits::default()
    };
    let fake = fake(Ok(vec![1; 300_000]));
    let outcome = hold("hold", &[A, "3"], limits.clone(), &fake).await;
    assert_eq!(value(&outcome), "ok");
    assert!(outcome.usage.memory_peak_bytes > 900_000);
    let outcome = hold("hold", &[A, "4"], limits.clone(), &fake).await;
    let (code, detail) = error(&outcome);
    assert_eq!(code, "guest-failed");
    assert!(
        detail.starts_with("other(\"the task\\'s memory limit"),
        "{detail}"
    );
    let outcome = hold("churn", &[A, "50"], limits, &fake).await;
    assert_eq!(value(&outcome), "ok");
}

#[tokio::test]
async fn the_quota_counts_requests_whatever_the_answer() {
    for answer in [Ok(b"x".to_vec()), Err(SecretError::NotFound("a".into()))] {
        let limits = TaskLimits {
            secret_quota: 3,
            ..TaskLimits::default()
        };
        let found = answer.is_ok();
        let fake = fake(answer);
        let outcome = hold("churn", &[A, "3"], limits.clone(), &fake).await;
        assert_eq!(outcome.value.is_ok(), found);
        assert_eq!(outcome.usage.secrets, if found { 3 } else { 1 });
        let before = fake.asked.lock().unwrap().len();
        let outcome = hold("insist", &[A, "9"], limits, &fake).await;
        assert_eq!(
            error(&outcome),
            ("guest-failed", "quota-exceeded(3)".to_owned())
        );
        assert_eq!(outcome.usage.secrets, 3);
        assert_eq!(fake.asked.lock().unwrap().len() - before, 3, "asked");
    }
}

#[tokio::test]
async fn a_task_may_ask_as_often_as_a_policy_can_name_secrets() {
    let fake = fake(Ok(b"x".to_vec()));
    let outcome = hold("churn", &[A, "256"], TaskLimits::default(), &fake).await;
    assert_eq!(value(&outcome), "ok");
    let outcome = hold("churn", &[A, "257"], TaskLimits::default(), &fake).await;
    assert_eq!(error(&outcome).1, "quota-exceeded(256)");
}

#[tokio::test]
async fn what_is_not_granted_costs_nothing() {
    let limits = TaskLimits {
        secret_quota: 0,
        ..TaskLimits::default()
    };
    let fake = fake(Ok(b"x".to_vec()));
    let outcome = hold("get", &[B], limits.clone(), &fake).await;
    assert!(error(&outcome).1.starts_with("not-granted("));
    assert_eq!(outcome.usage.secrets, 0);
    let outcome = hold("get", &[A], limits, &fake).await;
    assert_eq!(error(&outcome).1, "quota-exceeded(0)");
    assert!(fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bytes_are_shown_where_the_policy_says_so() {
    let fake = fake(Ok(vec![1, 2, 0xff]));
    let mut allowed = task("reveal", &[A]);
    allowed.grants = grants(SHOWN);
    let outcome = run_with(&REVEALS, allowed.clone(), &fake).await;
    assert_eq!(outcome.content().unwrap().0.as_slice(), [1, 2, 0xff]);

    let mut other = task("reveal", &[B]);
    other.grants = grants(SHOWN);
    let (code, detail) = error(&run_with(&REVEALS, other, &fake).await);
    assert_eq!(code, "guest-failed");
    assert!(
        detail.starts_with("not-granted(\"the component\\'s policy"),
        "{detail}"
    );

    let forbids = Fake {
        secrets: BTreeMap::from([(A, Ok(vec![1]))]),
        may_reveal: false,
        ..Fake::default()
    };
    let (code, detail) = error(&run_with(&REVEALS, allowed, &Arc::new(forbids)).await);
    assert_eq!(code, "guest-failed");
    assert!(detail.starts_with("not-granted(\"this host"), "{detail}");
}

#[tokio::test]
async fn reveal_is_not_linked_without_a_secret_to_reveal() {
    let mut task = task("reveal", &[A]);
    task.grants = grants(HELD);
    let outcome = run_with(&REVEALS, task, &fake(Ok(vec![1]))).await;
    assert_eq!(
        error(&outcome),
        (
            "import-not-granted",
            "propeller:confidential/reveal@0.1.0".to_owned()
        )
    );
}

#[tokio::test]
async fn a_plain_component_has_no_secrets() {
    let fake = fake(Ok(vec![1]));
    let outcome = run_with(&REVEALS, task("reveal", &[A]), &fake).await;
    let both = "propeller:confidential/secrets@0.1.0, propeller:confidential/reveal@0.1.0";
    assert_eq!(error(&outcome), ("import-not-granted", both.to_owned()));
    assert!(fake.asked.lock().unwrap().is_empty());
}
