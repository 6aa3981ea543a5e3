use std::sync::LazyLock;

use proplet_runtime::{Input, TaskSpec};
use zeroize::Zeroizing;

use crate::fakes::{error, run, task, value};
use crate::guests::{MEMORY, component, count};

/// Passes the functions on. Its first input is the index.
static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "use propeller:confidential/inputs@0.1.0.{input-error};
         import propeller:confidential/inputs@0.1.0;
         export read: func(index: u32) -> result<list<u8>, input-error>;
         export media-type: func(index: u32) -> result<option<string>, input-error>;",
        &format!(
            r#"
            (import "propeller:confidential/inputs@0.1.0" "read" (func $read (param i32 i32)))
            (import "propeller:confidential/inputs@0.1.0" "media-type" (func $media-type (param i32 i32)))
            {MEMORY}
            (func (export "read") (param i32) (result i32)
              (call $read (local.get 0) (i32.const 1024)) (i32.const 1024))
            (func (export "media-type") (param i32) (result i32)
              (call $media-type (local.get 0) (i32.const 1024)) (i32.const 1024))
            "#
        ),
    )
});

fn with(export: &str, index: &str, second: Input) -> TaskSpec {
    let mut task = task(export, &[index]);
    task.inputs.push(second);
    task
}

fn bytes(bytes: &[u8], media_type: Option<&str>) -> Input {
    Input {
        bytes: Zeroizing::new(bytes.to_vec()),
        media_type: media_type.map(str::to_owned),
    }
}

#[tokio::test]
async fn inputs_are_counted() {
    assert_eq!(value(&run(&count(), task("run", &[])).await), "0");
    assert_eq!(
        value(&run(&count(), task("run", &["a", "b", "c"])).await),
        "3"
    );
}

#[tokio::test]
async fn an_input_is_read_as_it_came() {
    let outcome = run(&GUEST, with("read", "1", bytes(&[0xff, 0, 1], None))).await;
    assert_eq!(outcome.content().unwrap().0.as_slice(), [0xff, 0, 1]);
    let outcome = run(&GUEST, with("read", "0", bytes(&[], None))).await;
    assert_eq!(outcome.content().unwrap().0.as_slice(), b"0");
    let large = vec![7_u8; 900_000];
    let outcome = run(&GUEST, with("read", "1", bytes(&large, None))).await;
    assert_eq!(outcome.content().unwrap().0.as_slice(), large);
}

#[tokio::test]
async fn the_media_type_is_the_senders() {
    let outcome = run(
        &GUEST,
        with("media-type", "1", bytes(b"{}", Some("application/json"))),
    )
    .await;
    assert_eq!(value(&outcome), "ok(some(\"application/json\"))");
    let outcome = run(&GUEST, with("media-type", "0", bytes(b"", None))).await;
    assert_eq!(value(&outcome), "ok(none)");
}

#[tokio::test]
async fn an_index_past_the_end_is_an_error() {
    for export in ["read", "media-type"] {
        for index in ["2", "4294967295"] {
            let outcome = run(&GUEST, with(export, index, bytes(b"", None))).await;
            assert_eq!(
                error(&outcome),
                ("guest-failed", "out-of-range(2)".to_owned())
            );
        }
    }
}
