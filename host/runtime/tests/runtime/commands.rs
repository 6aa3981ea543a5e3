use std::sync::LazyLock;

use proplet_runtime::{Input, TaskSpec};

use crate::fakes::{error, run, value};
use crate::guests::{MEMORY, component};

/// A command. What it does stands in its first input: `a` writes the arguments to standard output and the
/// environment to standard error; `0` and `1` exit well and badly, `2` with status 200; `t` traps; anything else
/// returns an error from `run`.
static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "import wasi:cli/environment@0.2.12;
         import wasi:cli/exit@0.2.12;
         import wasi:cli/stdout@0.2.12;
         import wasi:cli/stderr@0.2.12;
         import wasi:io/streams@0.2.12;
         export wasi:cli/run@0.2.12;",
        &format!(
            r#"
            (import "wasi:cli/environment@0.2.12" "get-arguments" (func $arguments (param i32)))
            (import "wasi:cli/environment@0.2.12" "get-environment" (func $environment (param i32)))
            (import "wasi:cli/exit@0.2.12" "exit" (func $exit (param i32)))
            (import "wasi:cli/exit@0.2.12" "exit-with-code" (func $exit-with (param i32)))
            (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
            (import "wasi:cli/stderr@0.2.12" "get-stderr" (func $stderr (result i32)))
            (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
              (func $write (param i32 i32 i32 i32)))
            {MEMORY}
            (func $write-all (param $to i32) (param $strings i32) (param $count i32)
              (loop $next
                (if (i32.eqz (local.get $count)) (then return))
                (call $write (local.get $to) (i32.load (local.get $strings))
                  (i32.load offset=4 (local.get $strings)) (i32.const 2048))
                (call $write (local.get $to) (i32.const 512) (i32.const 1) (i32.const 2048))
                (local.set $strings (i32.add (local.get $strings) (i32.const 8)))
                (local.set $count (i32.sub (local.get $count) (i32.const 1)))
                (br $next)))
            (data (i32.const 512) ";")
            (func (export "wasi:cli/run@0.2.12#run") (result i32) (local $what i32)
              (call $arguments (i32.const 1024))
              (call $environment (i32.const 1032))
              ;; The first byte of the second argument.
              (local.set $what (i32.load8_u (i32.load offset=8 (i32.load (i32.const 1024)))))
              (if (i32.eq (local.get $what) (i32.const 48)) (then (call $exit (i32.const 0))))
              (if (i32.eq (local.get $what) (i32.const 49)) (then (call $exit (i32.const 1))))
              (if (i32.eq (local.get $what) (i32.const 50)) (then (call $exit-with (i32.const 200))))
              (if (i32.eq (local.get $what) (i32.const 116)) (then unreachable))
              (if (i32.ne (local.get $what) (i32.const 97)) (then (return (i32.const 1))))
              (call $write-all (call $stdout) (i32.load (i32.const 1024)) (i32.load (i32.const 1028)))
              ;; A pair of strings is two strings.
              (call $write-all (call $stderr) (i32.load (i32.const 1032))
                (i32.mul (i32.const 2) (i32.load (i32.const 1036))))
              (i32.const 0))
            "#
        ),
    )
});

fn command(inputs: &[&str]) -> TaskSpec {
    TaskSpec {
        inputs: inputs.iter().map(|input| Input::text(*input)).collect(),
        ..TaskSpec::new("id", "job")
    }
}

#[tokio::test]
async fn inputs_are_arguments_and_output_is_the_result() {
    let mut task = command(&["a", "b c"]);
    let outcome = run(&GUEST, task.clone()).await;
    assert_eq!(value(&outcome), "job;a;b c;");
    assert_eq!(
        outcome.content().unwrap(),
        (b"job;a;b c;".to_vec().into(), proplet_runtime::TEXT)
    );
    assert_eq!(outcome.export, "wasi:cli/run");
    assert_eq!(outcome.usage.output_bytes, 10);

    task.env = [("K".to_owned(), "v".to_owned())].into();
    let outcome = run(&GUEST, task).await;
    assert_eq!(
        outcome.stderr.as_slice(),
        b"K;v;",
        "nothing of the host's environment"
    );
    assert_eq!(value(&outcome), "job;a;b c;\nK;v;");
}

#[tokio::test]
async fn exit_with_success_is_success() {
    let outcome = run(&GUEST, command(&["0"])).await;
    assert_eq!(value(&outcome), "");
}

#[tokio::test]
async fn any_other_end_is_a_failure() {
    for (input, code) in [
        ("1", "guest-failed"),
        ("x", "guest-failed"),
        ("t", "guest-trapped"),
    ] {
        let (found, detail) = error(&run(&GUEST, command(&[input])).await);
        assert_eq!(found, code);
        assert_eq!(
            detail == "exit status 1",
            code == "guest-failed",
            "{detail}"
        );
    }
}

#[tokio::test]
async fn an_exit_status_is_kept() {
    assert_eq!(
        error(&run(&GUEST, command(&["2"])).await),
        ("guest-failed", "exit status 200".to_owned())
    );
}

#[tokio::test]
async fn it_can_be_named() {
    for name in [
        "_start",
        "wasi:cli/run",
        "wasi:cli/run@0.2.0",
        "wasi:cli/run@0.2.12#run",
    ] {
        let outcome = run(
            &GUEST,
            TaskSpec {
                invoke: Some(name.into()),
                ..command(&["a"])
            },
        )
        .await;
        assert_eq!(value(&outcome), "job;a;", "{name}");
    }
}

#[tokio::test]
async fn arguments_are_text() {
    for bytes in [vec![0xff], b"a\0b".to_vec()] {
        let mut task = command(&["a"]);
        task.inputs.push(Input {
            bytes: bytes.into(),
            media_type: None,
        });
        assert_eq!(error(&run(&GUEST, task).await).0, "arguments-invalid");
    }
}
