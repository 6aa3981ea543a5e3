//! What one task leaves behind, another does not find.

use std::sync::Arc;
use std::time::Duration;

use proplet_runtime::{Owner, Runtime, RuntimeConfig};

use crate::fakes::{Fake, component, error, services, task, value};
use crate::guests::text;

/// Fills its memory and globals with a pattern, and says what it found there before.
const MARKS: &str = r#"(component
  (core module $m
    (memory 4)
    (table $t 10 funcref)
    (elem declare func $f)
    (global $g (mut i32) (i32.const 0))
    (func $f (export "f") (result i32) (local $at i32) (local $found i32)
      (local.set $found (i32.add (global.get $g)
        (i32.eqz (ref.is_null (table.get $t (i32.const 3))))))
      (loop $next
        (local.set $found (i32.or (local.get $found) (i32.load (local.get $at))))
        (i32.store (local.get $at) (i32.const 0x5ec2e7))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 262144))))
      (global.set $g (i32.const 1))
      (table.set $t (i32.const 3) (ref.func $f))
      (drop (memory.grow (i32.const 1)))
      (local.get $found)))
  (core instance $i (instantiate $m))
  (func (export "run") (result u32) (canon lift (core func $i "f"))))"#;

#[tokio::test]
async fn a_slot_is_clean_when_it_is_used_again() {
    // One place: every task gets the slot of the one before.
    let runtime = Runtime::new(RuntimeConfig {
        concurrent_tasks: 1,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let fake = Arc::new(Fake::default());
    let other = MARKS.replace("5ec2e7", "5ec2e8");
    for _ in 0..5 {
        for wat in [MARKS, &other] {
            let wasm = text(wat);
            let compiled = runtime
                .compile(component(&wasm), &Owner::Anybody)
                .await
                .unwrap();
            let outcome = runtime
                .run(&compiled, task("run", &[]), services(&fake))
                .await;
            assert_eq!(value(&outcome), "0");
        }
    }
}

#[tokio::test]
async fn a_spinning_task_leaves_the_others_their_turn() {
    // The scheduler of this test has one thread.
    let runtime = Runtime::new(RuntimeConfig {
        concurrent_tasks: 2,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let fake = Arc::new(Fake::default());
    let spin = text(
        r#"(component (core module $m (func (export "run") (loop br 0)))
          (core instance $i (instantiate $m))
          (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    let spin = runtime
        .compile(component(&spin), &Owner::Anybody)
        .await
        .unwrap();
    let marks = runtime
        .compile(component(&text(MARKS)), &Owner::Anybody)
        .await
        .unwrap();
    let spinning = task("run", &[]);
    let cancel = spinning.cancel.clone();
    let spins = runtime.run(&spin, spinning, services(&fake));
    let others = async {
        for _ in 0..10 {
            let outcome = runtime.run(&marks, task("run", &[]), services(&fake)).await;
            assert_eq!(value(&outcome), "0");
        }
        cancel.cancel();
    };
    let (spun, ()) = tokio::join!(spins, others);
    assert_eq!(error(&spun).0, "stopped");
}

#[tokio::test]
async fn a_task_waits_for_a_place_and_can_be_stopped_there() {
    let runtime = Runtime::new(RuntimeConfig {
        concurrent_tasks: 1,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let hangs = Arc::new(Fake {
        evidence_hangs: true,
        ..Fake::default()
    });
    let wasm = component(&crate::limits::ASKS_FOR_EVIDENCE);
    let compiled = runtime.compile(wasm, &Owner::Anybody).await.unwrap();
    let (first, second) = (task("run", &[]), task("run", &[]));
    let (stop_first, stop_second) = (first.cancel.clone(), second.cancel.clone());
    let running = runtime.run(&compiled, first, services(&hangs));
    let waiting = runtime.run(&compiled, second, services(&hangs));
    let stop = async {
        stop_second.cancel();
        // The second is refused while the first still holds the place.
        tokio::task::yield_now().await;
        stop_first.cancel();
    };
    let all = async { tokio::join!(running, waiting, stop) };
    let (first, second, ()) = tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .unwrap();
    assert_eq!(error(&first).0, "stopped");
    assert_eq!(error(&second).0, "stopped");
    assert_eq!(second.usage.wall_ms, 0);
}
