use proplet_runtime::{TaskLimits, TaskSpec};

use crate::fakes::{error, run, task, value};

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {text})")).unwrap()
}

/// Writes its arguments to standard output, each with a NUL after it, then exits.
fn echo(status: i32) -> Vec<u8> {
    module(&format!(
        r#"
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
          (drop (call $sizes (i32.const 0) (i32.const 4)))
          (drop (call $args (i32.const 100) (i32.const 1000)))
          (i32.store (i32.const 8) (i32.const 1000))
          (i32.store (i32.const 12) (i32.load (i32.const 4)))
          (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
          (call $exit (i32.const {status})))"#
    ))
}

#[tokio::test]
async fn numbers_go_in_and_the_first_result_comes_out() {
    let wasm = module(
        r#"(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
           (func (export "wide") (param i64) (result i64) (local.get 0))
           (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
           (func (export "single") (param f32) (result f32) (local.get 0))
           (func (export "two") (result i32 i32) (i32.const 1) (i32.const 2))
           (func (export "none"))"#,
    );
    for (invoke, inputs, expected) in [
        ("add", &["10", "20"][..], "30"),
        ("add", &["-1", "4294967295"], "-2"),
        ("wide", &["18446744073709551615"], "-1"),
        ("half", &["3"], "1.5"),
        ("single", &["0.1"], "0.1"),
        ("two", &[], "1"),
        ("none", &[], ""),
    ] {
        assert_eq!(
            value(&run(&wasm, task(invoke, inputs)).await),
            expected,
            "{invoke}"
        );
    }
}

#[tokio::test]
async fn wrong_arguments_show_the_signature() {
    let wasm = module(r#"(func (export "add") (param i32 f64) (result i32) (i32.const 0))"#);
    for inputs in [&["1"][..], &["1", "2", "3"], &["x", "2"], &["1", ""], &[]] {
        let (code, detail) = error(&run(&wasm, task("add", inputs)).await);
        assert_eq!(code, "arguments-invalid");
        assert!(
            detail.contains("`add: func(i32, f64) -> (i32)`"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn values_that_text_cannot_carry_are_refused() {
    let wasm = module(
        r#"(func (export "in") (param v128))
           (func (export "out") (result funcref) (ref.null func))"#,
    );
    assert_eq!(
        error(&run(&wasm, task("in", &["1"])).await).0,
        "arguments-invalid"
    );
    assert_eq!(
        error(&run(&wasm, task("out", &[])).await).0,
        "export-unsupported"
    );
}

#[tokio::test]
async fn the_default_is_run_then_start_then_main() {
    let function = |name: &str, value: u32| {
        format!(r#"(func (export "{name}") (result i32) (i32.const {value}))"#)
    };
    let (run_, main, start) = (
        function("run", 1),
        function("main", 2),
        function("_start", 3),
    );
    for (text, name, expected) in [
        (format!("{start}{main}{run_}"), "t", "1"),
        (format!("{start}{main}"), "t", "3"),
        (format!("{start}{main}"), "main", "3"),
        (main.clone(), "t", "2"),
        (start.clone(), "t", "3"),
        (format!("{main}{run_}"), "main", "2"),
    ] {
        assert_eq!(
            value(&run(&module(&text), TaskSpec::new("id", name)).await),
            expected
        );
    }
    let outcome = run(&module(&function("f", 1)), TaskSpec::new("id", "t")).await;
    assert_eq!(error(&outcome).0, "export-not-found");
}

#[tokio::test]
async fn a_reactor_is_initialised_first() {
    let wasm = module(
        r#"(global $ready (mut i32) (i32.const 0))
           (func (export "_initialize") (global.set $ready (i32.const 1)))
           (func (export "run") (result i32) (global.get $ready))"#,
    );
    assert_eq!(value(&run(&wasm, task("run", &[])).await), "1");
}

#[tokio::test]
async fn a_command_gets_its_name_and_inputs() {
    let mut task = task("_start", &["one", "zwei ü"]);
    task.name = "job".into();
    let outcome = run(&echo(0), task).await;
    assert_eq!(value(&outcome), "job\0one\0zwei ü\0");
    assert_eq!(outcome.export, "_start");
}

#[tokio::test]
async fn every_exit_status_is_the_guests() {
    for status in [1, 125, 126, 200, 255, 256, i32::MAX, -1] {
        let outcome = run(&echo(status), task("_start", &[])).await;
        assert_eq!(
            error(&outcome),
            ("guest-failed", format!("exit status {status}"))
        );
        let Err(proplet_runtime::RuntimeError::GuestFailed { exit_code, .. }) = outcome.value
        else {
            panic!("another error");
        };
        assert_eq!(exit_code, Some(status));
    }
}

#[tokio::test]
async fn handles_are_limited() {
    // As many clocks to wait for as fit into the memory, at once.
    let wasm = module(
        r#"(import "wasi_snapshot_preview1" "poll_oneoff"
             (func $poll (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 3200)
           (func (export "run") (param $count i32) (result i32)
             (call $poll (i32.const 1024) (i32.const 150000000) (local.get $count) (i32.const 0)))"#,
    );
    let with = |count: &str, limits: &TaskLimits| TaskSpec {
        limits: limits.clone(),
        ..task("run", &[count])
    };
    let limits = TaskLimits::default();
    // Each takes two handles: the moment, and what waits for it.
    assert_eq!(value(&run(&wasm, with("500", &limits)).await), "0");
    for count in ["1025", "700000"] {
        assert_eq!(
            error(&run(&wasm, with(count, &limits)).await).0,
            "limit-handles"
        );
    }
    // More than the host copies in one call: the guest is told that there is no memory for it (48).
    let limits = TaskLimits {
        handles: u32::MAX,
        ..limits
    };
    assert_eq!(value(&run(&wasm, with("1500000", &limits)).await), "48");
}

#[tokio::test]
async fn an_exit_status_other_than_zero_is_a_failure() {
    let outcome = run(&echo(3), task("_start", &[])).await;
    assert_eq!(
        error(&outcome),
        ("guest-failed", "exit status 3".to_owned())
    );
    assert_eq!(
        outcome.stdout.as_slice(),
        b"test\0",
        "output before the exit is kept"
    );
    let proplet_runtime::RuntimeError::GuestFailed { exit_code, .. } = outcome.value.unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(exit_code, Some(3));
}

#[tokio::test]
async fn the_sockets_of_wasi_preview_1_are_denied() {
    let wasm = module(
        r#"(import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
           (memory (export "memory") 1)
           (func (export "accept") (param $fd i32) (result i32)
             (call $accept (local.get $fd) (i32.const 0) (i32.const 0)))
           (func (export "recv") (param $fd i32) (result i32)
             (call $recv (local.get $fd) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
           (func (export "send") (param $fd i32) (result i32)
             (call $send (local.get $fd) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
           (func (export "shutdown") (param $fd i32) (result i32)
             (call $shutdown (local.get $fd) (i32.const 0)))"#,
    );
    for call in ["accept", "recv", "send", "shutdown"] {
        for descriptor in ["0", "1", "3", "-1"] {
            // `errno::acces`.
            assert_eq!(
                value(&run(&wasm, task(call, &[descriptor])).await),
                "2",
                "{call} {descriptor}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_but_wasi_preview_1_is_linked() {
    let wasm = module(
        r#"(import "env" "secret" (func)) (import "env" "memory" (memory 1))
           (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
           (func (export "run"))"#,
    );
    let outcome = run(&wasm, task("run", &[])).await;
    let (code, detail) = error(&outcome);
    assert_eq!(
        (code, detail.as_str()),
        ("import-not-granted", "env.secret, env.memory")
    );
    let clear = outcome.value.unwrap_err().to_string();
    assert!(clear.contains("2 imports from elsewhere") && !clear.contains("env"));
    let wasm =
        module(r#"(import "wasi_snapshot_preview1" "nonsense" (func)) (func (export "run"))"#);
    assert_eq!(
        error(&run(&wasm, task("run", &[])).await).0,
        "component-invalid"
    );
}

#[tokio::test]
async fn no_directory_is_open_and_no_environment_is_inherited() {
    let wasm = module(
        r#"(import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 1)
           (func (export "prestat") (result i32) (call $prestat (i32.const 3) (i32.const 0)))
           (func (export "variables") (result i32)
             (drop (call $sizes (i32.const 0) (i32.const 4))) (i32.load (i32.const 0)))
           (func (export "input") (result i32)
             (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 10))
             (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
             (i32.load (i32.const 16)))"#,
    );
    const BADF: &str = "8";
    assert_eq!(value(&run(&wasm, task("prestat", &[])).await), BADF);
    assert_eq!(value(&run(&wasm, task("variables", &[])).await), "0");
    assert_eq!(value(&run(&wasm, task("input", &[])).await), "0");
    let mut with = task("variables", &[]);
    with.env = [("A".to_owned(), "1".to_owned())].into();
    assert_eq!(value(&run(&wasm, with).await), "1");
}

#[tokio::test]
async fn a_trap_is_told_from_a_failure() {
    let wasm = module(r#"(func (export "run") unreachable)"#);
    let (code, detail) = error(&run(&wasm, task("run", &[])).await);
    assert_eq!(code, "guest-trapped");
    assert!(detail.contains("unreachable"), "{detail}");
}

#[tokio::test]
async fn core_modules_have_the_same_limits() {
    let flood = module(
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 1)
           (func (export "run")
             (i32.store (i32.const 4) (i32.const 1000))
             (loop $again
               (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
               (br $again)))"#,
    );
    let grow = module(r#"(memory 1) (func (export "run") (drop (memory.grow (i32.const 100))))"#);
    let spin = module(r#"(func (export "run") (loop br 0))"#);
    let spin_at_start = module(r#"(func $f (loop br 0)) (start $f) (func (export "run"))"#);
    let limits = TaskLimits {
        memory_bytes: 1 << 20,
        output_bytes: 10_000,
        cpu_ms: 30,
        ..TaskLimits::default()
    };
    for (wasm, code) in [
        (flood, "limit-output"),
        (grow, "limit-memory"),
        (spin, "limit-cpu"),
        (spin_at_start, "limit-cpu"),
    ] {
        let outcome = run(
            &wasm,
            TaskSpec {
                limits: limits.clone(),
                ..task("run", &[])
            },
        )
        .await;
        assert_eq!(error(&outcome).0, code);
        assert!(outcome.stderr.len() <= 10_000);
    }
}
