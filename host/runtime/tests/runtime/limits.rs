use std::sync::{Arc, LazyLock};

use proplet_runtime::{Outcome, TaskLimits, TaskSpec};

use crate::fakes::{Fake, error, run, run_with, task, value};
use crate::guests::{MEMORY, body, component, text};

/// Asks for evidence and gives up when there is none.
pub static ASKS_FOR_EVIDENCE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "import propeller:confidential/attestation@0.1.0; export run: func();",
        &format!(
            r#"
            (import "propeller:confidential/attestation@0.1.0" "evidence" (func $evidence (param i32 i32 i32)))
            {MEMORY}
            (func (export "run") (call $evidence (i32.const 0) (i32.const 0) (i32.const 1024)))
            "#
        ),
    )
});

/// Waits for an hour, or makes as many timers as it can.
static TIMERS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "import wasi:clocks/monotonic-clock@0.2.12;
         import wasi:io/poll@0.2.12;
         export wait: func();
         export flood: func();",
        &format!(
            r#"
            (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration"
              (func $timer (param i64) (result i32)))
            (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
            {MEMORY}
            (func (export "wait") (call $block (call $timer (i64.const 3600000000000))))
            (func (export "flood") (loop $again (drop (call $timer (i64.const 1))) (br $again)))
            "#
        ),
    )
});

fn with(limits: TaskLimits, export: &str) -> TaskSpec {
    TaskSpec {
        limits,
        ..task(export, &[])
    }
}

fn spin() -> Vec<u8> {
    body("", "(loop br 0)")
}

async fn code(wasm: &[u8], limits: TaskLimits) -> (&'static str, Outcome) {
    let outcome = run(wasm, with(limits, "run")).await;
    (error(&outcome).0, outcome)
}

#[tokio::test]
async fn a_spinning_guest_passes_its_processor_time() {
    let (code, outcome) = code(
        &spin(),
        TaskLimits {
            cpu_ms: 40,
            ..TaskLimits::default()
        },
    )
    .await;
    assert_eq!(code, "limit-cpu");
    assert!(outcome.usage.cpu_ms >= 40, "{:?}", outcome.usage);
    assert!(outcome.usage.cpu_ms < 5_000, "{:?}", outcome.usage);
}

#[tokio::test]
async fn a_spinning_guest_passes_the_wall_clock() {
    let (code, outcome) = code(
        &spin(),
        TaskLimits {
            wall_clock_ms: 40,
            ..TaskLimits::default()
        },
    )
    .await;
    assert_eq!(code, "limit-wall-clock");
    assert!(
        outcome.usage.wall_ms >= 40 && outcome.usage.wall_ms < 5_000,
        "{:?}",
        outcome.usage
    );
}

#[tokio::test]
async fn a_spinning_guest_can_be_stopped() {
    let task = task("run", &[]);
    let cancel = task.cancel.clone();
    let wasm = spin();
    let (outcome, ()) = tokio::join!(run(&wasm, task), async { cancel.cancel() });
    assert_eq!(error(&outcome).0, "stopped");
}

#[tokio::test]
async fn a_stopped_task_does_not_begin() {
    let task = task("run", &[]);
    task.cancel.cancel();
    let outcome = run(&spin(), task).await;
    assert_eq!(error(&outcome).0, "stopped");
    assert_eq!(outcome.usage.cpu_ms, 0);
}

#[tokio::test]
async fn a_task_without_any_time_does_not_begin() {
    let limits = TaskLimits {
        wall_clock_ms: 0,
        ..TaskLimits::default()
    };
    let outcome = run(&ASKS_FOR_EVIDENCE, with(limits, "run")).await;
    assert_eq!(error(&outcome).0, "limit-wall-clock");
    assert_eq!(outcome.usage.evidence, 0);
}

#[tokio::test]
async fn a_spinning_start_function_is_under_the_limits() {
    let wasm = body("(func $f (loop br 0)) (start $f)", "");
    assert_eq!(
        code(
            &wasm,
            TaskLimits {
                cpu_ms: 30,
                ..TaskLimits::default()
            }
        )
        .await
        .0,
        "limit-cpu"
    );
}

#[tokio::test]
async fn waiting_is_wall_clock_and_not_processor_time() {
    let limits = TaskLimits {
        wall_clock_ms: 60,
        cpu_ms: 30,
        ..TaskLimits::default()
    };
    let outcome = run(&TIMERS, with(limits, "wait")).await;
    assert_eq!(error(&outcome).0, "limit-wall-clock");
    assert!(outcome.usage.cpu_ms < 30, "{:?}", outcome.usage);
}

#[tokio::test]
async fn a_host_call_that_hangs_can_be_stopped() {
    let fake = Arc::new(Fake {
        evidence_hangs: true,
        ..Fake::default()
    });
    let limits = TaskLimits {
        wall_clock_ms: 30,
        ..TaskLimits::default()
    };
    let outcome = run_with(&ASKS_FOR_EVIDENCE, with(limits, "run"), &fake).await;
    assert_eq!(error(&outcome).0, "limit-wall-clock");
    let task = task("run", &[]);
    let cancel = task.cancel.clone();
    let (outcome, ()) = tokio::join!(run_with(&ASKS_FOR_EVIDENCE, task, &fake), async {
        cancel.cancel()
    });
    assert_eq!(error(&outcome).0, "stopped");
}

#[tokio::test]
async fn memory_is_limited_over_memories_and_tables() {
    let mebibyte = TaskLimits {
        memory_bytes: 1 << 20,
        ..TaskLimits::default()
    };
    for (declarations, run) in [
        ("(memory 1)", "(drop (memory.grow (i32.const 16)))"),
        ("(memory 17)", ""),
        (
            "(memory 1)",
            "(loop (drop (memory.grow (i32.const 1))) (br 0))",
        ),
        (
            "(table 1 funcref)",
            "(drop (table.grow (ref.null func) (i32.const 140000)))",
        ),
        (
            "(memory 10) (table 50000 funcref)",
            "(drop (memory.grow (i32.const 1)))",
        ),
    ] {
        let wasm = body(declarations, run);
        let found = run_code(&wasm, mebibyte.clone()).await;
        assert_eq!(found, "limit-memory", "{declarations} {run}");
    }
    let fits = body(
        "(memory 1)",
        "(if (i32.eq (memory.grow (i32.const 15)) (i32.const -1)) (then unreachable))",
    );
    let outcome = run(&fits, with(mebibyte, "run")).await;
    assert_eq!(value(&outcome), "");
    assert_eq!(outcome.usage.memory_peak_bytes, 1 << 20);
}

async fn run_code(wasm: &[u8], limits: TaskLimits) -> &'static str {
    match run(wasm, with(limits, "run")).await.value {
        Ok(_) => "ok",
        Err(error) => error.code().as_str(),
    }
}

#[tokio::test]
async fn growth_past_a_memorys_own_maximum_is_no_limit() {
    let wasm = body(
        "(memory 1 2)",
        "(if (i32.ne (memory.grow (i32.const 5)) (i32.const -1)) (then unreachable))",
    );
    assert_eq!(value(&run(&wasm, task("run", &[])).await), "");
}

#[tokio::test]
async fn handles_of_the_host_are_limited() {
    let limits = TaskLimits {
        handles: 100,
        cpu_ms: 10_000,
        ..TaskLimits::default()
    };
    let outcome = run(&TIMERS, with(limits, "flood")).await;
    assert_eq!(error(&outcome).0, "limit-handles");
}

#[tokio::test]
async fn handles_of_the_guests_own_resources_are_limited() {
    let wasm = text(
        r#"(component
          (type $r (resource (rep i32)))
          (core func $new (canon resource.new $r))
          (core module $m (import "" "new" (func $new (param i32) (result i32)))
            (func (export "run") (loop (drop (call $new (i32.const 0))) (br 0))))
          (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
          (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    assert_eq!(
        code(
            &wasm,
            TaskLimits {
                handles: 100,
                ..TaskLimits::default()
            }
        )
        .await
        .0,
        "limit-handles"
    );
}

/// A component that writes blocks to both streams forever.
static FLOODS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "import wasi:cli/stdout@0.2.12;
         import wasi:cli/stderr@0.2.12;
         import wasi:io/streams@0.2.12;
         export run: func();",
        &format!(
            r#"
            (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
            (import "wasi:cli/stderr@0.2.12" "get-stderr" (func $stderr (result i32)))
            (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
              (func $write (param i32 i32 i32 i32)))
            {MEMORY}
            (func (export "run") (local $out i32) (local $err i32)
              (local.set $out (call $stdout))
              (local.set $err (call $stderr))
              (loop
                (call $write (local.get $out) (i32.const 0) (i32.const 1000) (i32.const 2048))
                (call $write (local.get $err) (i32.const 0) (i32.const 1000) (i32.const 2048))
                (br 0)))
            "#
        ),
    )
});

#[tokio::test]
async fn output_is_limited_over_both_streams() {
    let (code, outcome) = code(
        &FLOODS,
        TaskLimits {
            output_bytes: 5_500,
            ..TaskLimits::default()
        },
    )
    .await;
    assert_eq!(code, "limit-output");
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (3_000, 2_000));
    assert_eq!(outcome.usage.output_bytes, 5_000);
}

#[tokio::test]
async fn the_value_counts_as_output() {
    // Returns a list of its argument's length: two pages and a half of zeroes at most.
    let wasm = component(
        "export bytes: func(n: u32) -> list<u8>; export text: func(n: u32) -> string;
         export first: func() -> list<u8>;",
        &format!(
            r#"{MEMORY}
            (func $f (param i32) (result i32)
              (i32.store (i32.const 1024) (i32.const 8192))
              (i32.store (i32.const 1028) (local.get 0)) (i32.const 1024))
            (func (export "bytes") (param i32) (result i32) (call $f (local.get 0)))
            (func (export "text") (param i32) (result i32) (call $f (local.get 0)))
            (func (export "first") (result i32) (call $f (i32.const 1001)))"#
        ),
    );
    let limits = TaskLimits {
        output_bytes: 1000,
        ..TaskLimits::default()
    };
    let call = |export: &str, n: &str| {
        let mut task = task(export, &[n]);
        if n.is_empty() {
            task.inputs.clear();
        }
        task.limits = limits.clone();
        task
    };
    for (export, n, expected) in [
        ("bytes", "1000", ""),
        ("bytes", "1001", "limit-output"),
        ("text", "1001", "limit-output"),
        ("first", "", "limit-output"),
    ] {
        let outcome = run(&wasm, call(export, n)).await;
        match expected {
            "" => assert_eq!(outcome.usage.output_bytes, 1000),
            code => assert_eq!(error(&outcome).0, code, "{export}"),
        }
    }
}

#[tokio::test]
async fn lists_that_need_too_much_of_the_host_are_refused() {
    // 16 MiB of records would be a gigabyte of values.
    let wasm = component(
        "export run: func() -> list<tuple<u8, u8>>;",
        r#"(memory (export "memory") 300)
           (func (export "run") (result i32)
             (i32.store (i32.const 1024) (i32.const 8192))
             (i32.store (i32.const 1028) (i32.const 8000000)) (i32.const 1024))"#,
    );
    assert_eq!(code(&wasm, TaskLimits::default()).await.0, "limit-output");
    let limits = TaskLimits {
        memory_bytes: 32 << 20,
        ..TaskLimits::default()
    };
    assert_eq!(code(&wasm, limits).await.0, "limit-memory");
}
