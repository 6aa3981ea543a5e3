//! What strangers can make the host do for a task: types and inputs made to cost as much as they can, held
//! against the task's memory and time.
//!
//! The allocator counts, so the memory is the host's own, the engine's copies of values included; linear
//! memories are mapped and not in it. The largest figures are printed (`cargo test … -- --nocapture`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unsafe_code,
    reason = "an allocator that counts is unsafe to write"
)]

mod counting;
mod types;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proplet_component::Component;
use proplet_runtime::{
    AttestationError, Attestor, Input, Outcome, Owner, PublishError, PublishedReceipt, ResultSink,
    Runtime, RuntimeConfig, SecretError, SecretSource, Services, TaskLimits, TaskSpec, Unrecorded,
    WorkloadEvidence, WorkloadIdentity,
};
use proplet_types::{Digest, ResourceUri};
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::types::{Guest, Shape};

/// Limits of the tasks here. They are small, so that what is not held to them shows soon.
fn limits() -> TaskLimits {
    TaskLimits {
        memory_bytes: 64 << 20,
        cpu_ms: 300,
        wall_clock_ms: 3_000,
        ..TaskLimits::default()
    }
}

/// How long a task may take beyond its limit of processor time. The engine carries values over in one go, and
/// they are freed in one go; this is an unoptimised build on a busy machine.
const GRACE: Duration = Duration::from_secs(5);
/// How long the only thread of the scheduler may be held up.
const HELD_UP: Duration = Duration::from_secs(1);
/// Memory that a run needs whatever it does: its store, its tables of names.
const FIXED: usize = 8 << 20;

/// Measurements need the process for themselves.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    time: Duration,
    held_up: Duration,
    memory: usize,
}

/// Runs the guest on a scheduler with one thread, beside a task that notices when it is held up.
fn run(guest: &Guest, input: &str, limits: &TaskLimits) -> (Outcome, Cost) {
    let scheduler = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    scheduler.block_on(async {
        let wasm = wat::parse_str(guest.text()).unwrap_or_else(|error| panic!("{error}"));
        let runtime = Runtime::new(RuntimeConfig {
            concurrent_tasks: 1,
            ..RuntimeConfig::default()
        })
        .unwrap();
        let component = Arc::new(Component::of(wasm));
        let compiled = runtime.compile(component, &Owner::Anybody).await.unwrap();
        let nothing = Arc::new(Nothing);
        let services = Services {
            attestation: nothing.clone(),
            secrets: nothing.clone(),
            results: nothing,
            record: Arc::new(Unrecorded),
        };
        let task = TaskSpec {
            inputs: if guest.parameter.is_some() {
                vec![Input::text(input)]
            } else {
                Vec::new()
            },
            limits: limits.clone(),
            ..TaskSpec::new("task-1", "run")
        };
        let held_up = Arc::new(Mutex::new(Duration::ZERO));
        let longest = Arc::clone(&held_up);
        let heart = tokio::spawn(async move {
            loop {
                let before = Instant::now();
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut longest = longest.lock().unwrap();
                *longest = longest.max(before.elapsed());
            }
        });
        tokio::task::yield_now().await;
        let before = counting::reset();
        let begun = Instant::now();
        let outcome = runtime.run(&compiled, task, services).await;
        let time = begun.elapsed();
        let memory = counting::peak().saturating_sub(before);
        // One more beat, for the last stretch.
        tokio::time::sleep(Duration::from_millis(20)).await;
        heart.abort();
        let held_up = *held_up.lock().unwrap();
        (
            outcome,
            Cost {
                time,
                held_up,
                memory,
            },
        )
    })
}

fn check(what: &str, outcome: &Outcome, cost: Cost, limits: &TaskLimits) {
    let code = outcome
        .value
        .as_ref()
        .map_or_else(|error| error.code().as_str(), |_| "a value");
    eprintln!(
        "{what}: {code} after {:?}, {} KiB, scheduler held up for {:?}",
        cost.time,
        cost.memory / 1024,
        cost.held_up
    );
    let most = Duration::from_millis(limits.cpu_ms) + GRACE;
    assert!(cost.time < most, "{what}: {:?}", cost.time);
    assert!(cost.held_up < HELD_UP, "{what}: {:?}", cost.held_up);
    let memory = limits.memory_bytes as usize + limits.output_bytes as usize + FIXED;
    assert!(cost.memory < memory, "{what}: {} bytes", cost.memory);
}

/// The case that was found: four bytes of input for each record of thousands of optional fields.
#[test]
fn empty_records_of_many_optional_fields() {
    let _alone = alone();
    for (fields, records) in [(2_000, 200), (10_000, 200), (10_000, 20_000)] {
        let guest = Guest::takes(Shape::list(Shape::record_of_options(fields)));
        let input = format!("[{}]", vec!["{:}"; records].join(","));
        let (outcome, cost) = run(&guest, &input, &limits());
        check(
            &format!("{records} empty records of {fields} fields"),
            &outcome,
            cost,
            &limits(),
        );
    }
}

/// Fields in the worst order, all there.
#[test]
fn a_record_with_every_field() {
    let _alone = alone();
    let guest = Guest::takes(Shape::list(Shape::record_of_options(10_000)));
    let fields: Vec<String> = (0..10_000).rev().map(|n| format!("f{n}:1")).collect();
    let record = format!("{{{}}}", fields.join(","));
    let input = format!("[{}]", vec![record; 10].join(","));
    let (outcome, cost) = run(&guest, &input, &limits());
    check("ten records of 10,000 fields", &outcome, cost, &limits());
}

/// Names and cases that are looked up for every element of a list, on the way in and on the way out.
#[test]
fn long_lists_of_the_last_case() {
    let _alone = alone();
    let last = Shape::Enum(10_000);
    let input = format!("[{}]", vec!["c9999"; 100_000].join(","));
    for guest in [
        Guest::takes(Shape::list(last.clone())),
        Guest::gives(Shape::list(last), 1_500_000, 0x2222),
        Guest::gives(Shape::list(Shape::Flags(32)), 1_500_000, 0xffff),
        Guest::gives(Shape::list(Shape::record_of_options(10_000)), 100, 0),
        Guest::gives(Shape::list(Shape::list(Shape::Bool)), 1_000_000, 0),
        Guest::gives(Shape::list(Shape::Bool), 3_000_000, 1),
        Guest::gives(Shape::String, 30_000_000, 0x0707),
    ] {
        let (outcome, cost) = run(&guest, &input, &limits());
        check(&guest.describe(), &outcome, cost, &limits());
    }
}

/// A task that is stopped while its inputs are read, or whose caller goes away, ends.
#[test]
fn reading_inputs_can_be_stopped() {
    let _alone = alone();
    let guest = Guest::takes(Shape::list(Shape::record_of_options(10_000)));
    let input = format!("[{}]", vec!["{:}"; 200_000].join(","));
    let limits = TaskLimits {
        memory_bytes: 16 << 30,
        cpu_ms: 60_000,
        wall_clock_ms: 200,
        ..TaskLimits::default()
    };
    let (outcome, cost) = run(&guest, &input, &limits);
    assert_eq!(outcome.value.unwrap_err().code(), "limit-wall-clock");
    assert!(cost.time < GRACE && cost.held_up < HELD_UP, "{cost:?}");
}

#[test]
fn any_type_and_input_stays_within_the_limits() {
    let _alone = alone();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 48,
        ..ProptestConfig::default()
    });
    let worst = Mutex::new(Cost::default());
    let strategy = (
        types::shape(),
        0_usize..60_000,
        types::pattern(),
        any::<bool>(),
    );
    runner
        .run(&strategy, |(shape, size, pattern, gives)| {
            let shape = Shape::list(shape);
            let (guest, input) = if gives {
                (Guest::gives(shape, size as u32 * 8, pattern), String::new())
            } else {
                let input = shape.input(size);
                (Guest::takes(shape), input)
            };
            let (outcome, cost) = run(&guest, &input, &limits());
            let mut worst = worst.lock().unwrap();
            worst.time = worst.time.max(cost.time);
            worst.memory = worst.memory.max(cost.memory);
            worst.held_up = worst.held_up.max(cost.held_up);
            drop(worst);
            check(&guest.describe(), &outcome, cost, &limits());
            Ok(())
        })
        .unwrap();
    let worst = worst.into_inner().unwrap();
    eprintln!(
        "largest of all: {:?} of {} ms, {} KiB of {} KiB, scheduler held up for {:?}",
        worst.time,
        limits().cpu_ms,
        worst.memory / 1024,
        limits().memory_bytes / 1024,
        worst.held_up
    );
}

/// A machine without a TEE, without secrets, where nothing is published.
struct Nothing;

#[async_trait]
impl Attestor for Nothing {
    fn identity(&self) -> WorkloadIdentity {
        WorkloadIdentity {
            component_digest: Digest::of(b"component"),
            image_digest: None,
            policy_digest: None,
            settings_digest: Digest::of(b"settings"),
            tee: None,
            is_hardware: false,
        }
    }

    async fn evidence(&self, _: &[u8]) -> Result<WorkloadEvidence, AttestationError> {
        Err(AttestationError::NoTee)
    }
}

#[async_trait]
impl SecretSource for Nothing {
    async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        Err(SecretError::NotFound(uri.to_string()))
    }
}

impl ResultSink for Nothing {
    fn publish(&self, _: &[u8], _: &str) -> Result<PublishedReceipt, PublishError> {
        Err(PublishError::Other("nothing is published here".to_owned()))
    }

    fn recipients(&self) -> Vec<String> {
        Vec::new()
    }
}
