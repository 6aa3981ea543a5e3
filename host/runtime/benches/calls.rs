//! What the host adds to the engine, as ratios to raw Wasmtime in the same run.
//!
//! Three pairs: a host call without I/O beside an import of the same type that is linked by hand; the same
//! through a trait object; and a whole warm task beside instantiating and calling the same component. Both
//! sides of a pair take turns in small batches, so a noisy machine disturbs both alike, and the medians are
//! compared. The raw engine has the settings that matter for the price: the same pool, epochs, and no
//! concurrency support. Another line shows the raw engine without the pool.
//!
//! Nothing here fails because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::Criterion;
use proplet_component::Component as Wasm;
use proplet_runtime::{
    AttestationError, Attestor, Compiled, Input, Owner, PublishError, PublishedReceipt, ResultSink,
    Runtime, RuntimeConfig, SecretError, SecretSource, Services, TaskSpec, Unrecorded,
    WorkloadEvidence, WorkloadIdentity,
};
use proplet_types::{Digest, ResourceUri};
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, UpdateDeadline,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use zeroize::Zeroizing;

/// Host calls in one task.
const CALLS: u32 = 100_000;

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
        Err(PublishError::NotText)
    }
    fn recipients(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A component that calls a function without arguments as often as its argument says.
fn caller(interface: &str, function: &str, result: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
          (import "{interface}" (instance $host (export "{function}" (func (result {result})))))
          (core func $f (canon lower (func $host "{function}")))
          (core module $m
            (import "host" "f" (func $f (result i32)))
            (memory 17)
            (func (export "run") (param $n i32) (result i32) (local $sum i32)
              (loop $again
                (local.set $sum (i32.add (local.get $sum) (call $f)))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
              (local.get $sum)))
          (core instance $i (instantiate $m (with "host" (instance (export "f" (func $f))))))
          (func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "run"))))"#
    ))
    .unwrap()
}

/// The host of this project.
struct Ours {
    runtime: Runtime,
    services: Services,
}

impl Ours {
    fn new() -> Self {
        let nothing = Arc::new(Nothing);
        Self {
            runtime: Runtime::new(RuntimeConfig::default()).unwrap(),
            services: Services {
                attestation: nothing.clone(),
                secrets: nothing.clone(),
                results: nothing,
                record: Arc::new(Unrecorded),
            },
        }
    }

    async fn compile(&self, wasm: Vec<u8>) -> Compiled {
        let component = Arc::new(Wasm::of(wasm));
        self.runtime
            .compile(component, &Owner::Anybody)
            .await
            .unwrap()
    }

    async fn run(&self, compiled: &Compiled, calls: u32) {
        let mut task = TaskSpec::new("task", "run");
        task.inputs = vec![Input::text(calls.to_string())];
        let outcome = self
            .runtime
            .run(compiled, task, self.services.clone())
            .await;
        black_box(outcome.value.unwrap());
    }
}

/// The engine by itself.
struct Raw {
    engine: Engine,
    pre: InstancePre<RawState>,
}

struct RawState {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for RawState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl Raw {
    fn new(wasm: &[u8], pool: bool, interface: &str, function: &str) -> Self {
        let mut config = Config::new();
        config.concurrency_support(false).epoch_interruption(true);
        if pool {
            let mut pool = PoolingAllocationConfig::new();
            pool.total_memories(256).total_tables(256).total_stacks(128);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::<RawState>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        let mut instance = linker.instance(interface).unwrap();
        match function {
            "is-hardware" => instance.func_wrap(function, |_, ()| Ok((false,))).unwrap(),
            _ => instance.func_wrap(function, |_, ()| Ok((1_u32,))).unwrap(),
        }
        let component = Component::new(&engine, wasm).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        Self { engine, pre }
    }

    async fn run(&self, calls: u32) {
        let state = RawState {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(&self.engine, state);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let run = instance
            .get_typed_func::<(u32,), (u32,)>(&mut store, "run")
            .unwrap();
        black_box(run.call_async(&mut store, (calls,)).await.unwrap());
    }
}

/// Medians of both sides, which take turns.
async fn compare(
    rounds: usize,
    mut ours: impl AsyncFnMut(),
    mut raw: impl AsyncFnMut(),
) -> (Duration, Duration) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..rounds + rounds / 10 {
        let start = Instant::now();
        ours().await;
        let middle = Instant::now();
        raw().await;
        let end = Instant::now();
        // The first rounds warm both sides up.
        if round >= rounds / 10 {
            a.push(middle - start);
            b.push(end - middle);
        }
    }
    (median(a), median(b))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    // `cargo test` and `--test` see that it works; only a real `cargo bench` takes its time.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let in_earnest = given("--bench") && !given("--test");
    let (call_rounds, task_rounds) = if in_earnest { (60, 5_000) } else { (1, 10) };
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ours = Ours::new();
    let pairs = [
        (
            "inputs.count",
            "propeller:confidential/inputs@0.1.0",
            "count",
            "u32",
        ),
        (
            "attestation.is-hardware",
            "propeller:confidential/attestation@0.1.0",
            "is-hardware",
            "bool",
        ),
    ];
    println!("{:<28} {:>12} {:>12} {:>7}", "", "here", "raw", "ratio");
    let report = |name: &str, (a, b): (Duration, Duration), calls: u32| {
        let (a, b) = (
            a.as_secs_f64() / f64::from(calls),
            b.as_secs_f64() / f64::from(calls),
        );
        println!(
            "{name:<28} {:>9.3} us {:>9.3} us {:>7.2}",
            a * 1e6,
            b * 1e6,
            a / b
        );
    };
    for (name, interface, function, result) in pairs {
        let wasm = caller(interface, function, result);
        let raw = Raw::new(&wasm, true, interface, function);
        tokio.block_on(async {
            let compiled = ours.compile(wasm).await;
            let times = compare(
                call_rounds,
                async || ours.run(&compiled, CALLS).await,
                async || raw.run(CALLS).await,
            );
            report(name, times.await, CALLS);
        });
    }
    let [(_, interface, function, result), _] = pairs;
    let wasm = caller(interface, function, result);
    let raw = Raw::new(&wasm, true, interface, function);
    let unpooled = Raw::new(&wasm, false, interface, function);
    let compiled = tokio.block_on(ours.compile(wasm));
    tokio.block_on(async {
        let times = compare(
            task_rounds,
            async || ours.run(&compiled, 1).await,
            async || raw.run(1).await,
        );
        report("warm task, raw with pool", times.await, 1);
        let times = compare(
            task_rounds,
            async || ours.run(&compiled, 1).await,
            async || unpooled.run(1).await,
        );
        report("warm task, raw without pool", times.await, 1);
    });

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("warm task", |bencher| {
        bencher.iter(|| tokio.block_on(ours.run(&compiled, 1)));
    });
    criterion.bench_function("warm task, raw with pool", |bencher| {
        bencher.iter(|| tokio.block_on(raw.run(1)));
    });
    criterion.final_summary();
}
