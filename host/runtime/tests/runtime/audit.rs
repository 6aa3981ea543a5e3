use std::sync::{Arc, LazyLock};

use crate::fakes::{Fake, error, run_with, task, value};
use crate::guests::{MEMORY, component};

/// Passes the functions on. Its first input is the index.
static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "use propeller:confidential/audit@0.1.0.{audit-error};
         import propeller:confidential/audit@0.1.0;
         export count: func() -> u32;
         export read: func(index: u32) -> result<string, audit-error>;
         export head: func() -> string;",
        &format!(
            r#"
            (import "propeller:confidential/audit@0.1.0" "count" (func $count (result i32)))
            (import "propeller:confidential/audit@0.1.0" "read" (func $read (param i32 i32)))
            (import "propeller:confidential/audit@0.1.0" "head" (func $head (param i32)))
            {MEMORY}
            (func (export "count") (result i32) (call $count))
            (func (export "read") (param i32) (result i32)
              (call $read (local.get 0) (i32.const 1024)) (i32.const 1024))
            (func (export "head") (result i32)
              (call $head (i32.const 1024)) (i32.const 1024))
            "#
        ),
    )
});

fn recorded() -> Arc<Fake> {
    Arc::new(Fake {
        record: vec!["{\"seq\":0}", "{\"seq\":1}"],
        ..Fake::default()
    })
}

#[tokio::test]
async fn a_task_reads_its_record() {
    let fake = recorded();
    let said = async |export: &str, inputs: &[&str]| {
        value(&run_with(&GUEST, task(export, inputs), &fake).await)
    };
    assert_eq!(said("count", &[]).await, "2");
    assert_eq!(said("head", &[]).await, r#""sha256:2""#);
    assert_eq!(said("read", &["1"]).await, r#"ok("{\"seq\":1}")"#);
    let other = Arc::new(Fake::default());
    let outcome = run_with(&GUEST, task("count", &[]), &other).await;
    assert_eq!(value(&outcome), "0");
}

#[tokio::test]
async fn an_index_past_the_end_is_an_error() {
    for index in ["2", "4294967295"] {
        let outcome = run_with(&GUEST, task("read", &[index]), &recorded()).await;
        assert_eq!(
            error(&outcome),
            ("guest-failed", "out-of-range(2)".to_owned())
        );
    }
}
