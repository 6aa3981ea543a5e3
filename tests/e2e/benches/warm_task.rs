//! What a warm encrypted task costs, from the decoded start message to the sealed result with its
//! receipt, beside raw Wasmtime instantiating and calling the same component.
//!
//! Warm means: the key broker session lives, the component is compiled, and the image is named by
//! digest, so nobody is asked. The executor is the production one with an in-process registry, the
//! development key broker and a fake TEE; MQTT is left out. The raw engine has the settings of
//! `proplet-runtime` that matter for the price: the same pool, epochs, zeroed stacks, no concurrency
//! support. Both sides take turns, so a noisy machine disturbs both alike, and medians are compared.
//!
//! Three tasks: a component that returns its input; the same sealed to an X25519 key instead of P-256;
//! and `confidential-inference`, which also gets a cached secret and attests itself once, to a fake TEE
//! whose report alone takes longer than the rest. What the parts cost by themselves is printed below.
//!
//! Nothing here fails because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unsafe_code,
    reason = "the engine's derive macros expand to unsafe code"
)]

mod raw;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use proplet_executor::harden::Swap;
use proplet_executor::{Executor, Host, Request, Source, Task};
use proplet_hal::ReportData;
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_jose::jws::SigningKey;
use proplet_lab::workload::with_recipients;
use proplet_lab::{KEY_ID, Sources};
use proplet_results::claims::Claims;
use proplet_results::{EvidenceBundle, ReceiptKey, ResultDocument, seal};
use proplet_runtime::CancelToken;
use proplet_testkit::guests::{
    GuestName, INFERENCE_POLICY, INFERENCE_WEIGHTS, INFERENCE_WEIGHTS_URI, build,
};
use proplet_testkit::tee::FakeSnp;
use proplet_types::Digest;
use serde_json::Map;
use wasmtime::component::{Component, ComponentType, InstancePre, Lift, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

const ECHO: &str = "echo 4711";
const QUESTION: &str = r#"{"nonce":"n-1","samples":[[5.1,3.5,1.4,0.2]]}"#;

/// The production executor, warm, with one task to repeat.
struct Ours {
    executor: Executor,
    start: Request,
    /// They must live as long as the executor might ask them.
    _sources: Sources,
}

impl Ours {
    async fn new(component: &[u8], policy: &str, recipient: &PublicKey, input: &str) -> Box<Self> {
        let sources = Sources::start().await.unwrap();
        let policy = with_recipients(policy, std::slice::from_ref(recipient));
        let key_id = KEY_ID.parse().unwrap();
        let published = sources.publish("module", component, Some(&policy), key_id);
        let (_, pinned) = published.await.unwrap();
        sources.key_broker.set_resource(
            &INFERENCE_WEIGHTS_URI.parse().unwrap(),
            INFERENCE_WEIGHTS.as_bytes(),
        );
        let settings = sources.settings("").unwrap();
        let mut host = Host::new(Arc::new(settings), Some(Arc::new(FakeSnp::new())));
        host.swap = Swap::None;
        Box::new(Self {
            executor: Executor::new(host).unwrap(),
            start: Request {
                source: Source::Encrypted {
                    image: pinned.to_string(),
                    expected_key: None,
                },
                task: Task {
                    id: "task-1".into(),
                    name: "bench".into(),
                    inputs: vec![input.into()],
                    arguments: Vec::new(),
                    invoke: None,
                    env: Default::default(),
                    watch: Default::default(),
                    record: None,
                },
            },
            _sources: sources,
        })
    }

    async fn run(&self) {
        let outcome = self
            .executor
            .execute(self.start.clone(), CancelToken::new())
            .await;
        assert_eq!(outcome.error, None);
        black_box(outcome.results);
    }
}

/// The engine by itself, with a component that needs nothing from the host.
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

/// `propeller:worlds/outcome.failure`.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
#[expect(
    dead_code,
    reason = "the engine writes the texts, and nobody reads them"
)]
enum Failure {
    #[component(name = "invalid-input")]
    InvalidInput(String),
    #[component(name = "host")]
    Host(String),
    #[component(name = "other")]
    Other(String),
}

impl Raw {
    fn new(wasm: &[u8]) -> Self {
        let engine = raw::engine();
        let component = Component::new(&engine, wasm).unwrap();
        let mut linker = Linker::<RawState>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        Self { engine, pre }
    }

    async fn run(&self) {
        let state = RawState {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(&self.engine, state);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let run = instance
            .get_typed_func::<(&[u8],), (Result<Vec<u8>, Failure>,)>(&mut store, "run")
            .unwrap();
        let (result,) = run
            .call_async(&mut store, (ECHO.as_bytes(),))
            .await
            .unwrap();
        assert_eq!(result.unwrap(), b"4711");
    }
}

/// One of the things that take turns.
enum Side {
    Raw(Raw),
    Ours(Box<Ours>),
    Part(Box<dyn Fn() + Send + Sync>),
}

impl Side {
    async fn run(&self) {
        match self {
            Self::Raw(raw) => raw.run().await,
            Self::Ours(ours) => ours.run().await,
            Self::Part(part) => part(),
        }
    }
}

/// What a warm task does besides running the component, piece by piece.
async fn parts(p256: PublicKey, x25519: PublicKey) -> Vec<(&'static str, Side)> {
    let part = |work: Box<dyn Fn() + Send + Sync>| Side::Part(work);
    let sealing = |key: PublicKey| {
        part(Box::new(move || {
            black_box(seal(b"4711", "text/plain", std::slice::from_ref(&key)).unwrap());
        }))
    };
    let signing = SigningKey::generate().unwrap();
    let receipt_key = ReceiptKey::generate().unwrap();
    let settings = Digest::of(b"settings");
    let claims = Claims::instance(&receipt_key, settings, "fake-snp").unwrap();
    let evidence = EvidenceBundle::gather(&FakeSnp::new(), &claims)
        .await
        .unwrap();
    let evidence_text = evidence.to_text().unwrap();
    let jwe = seal(b"4711", "text/plain", std::slice::from_ref(&p256))
        .unwrap()
        .jwe;
    let receipt = signing.sign_compact(&Map::new(), &[b'x'; 1024]).unwrap();
    let tee = FakeSnp::new();
    let report_data = ReportData::new(&[7; 64]).unwrap();
    let document = ResultDocument {
        jwe: jwe.clone(),
        receipt: receipt.clone(),
        evidence,
    };
    vec![
        ("seal to P-256", sealing(p256)),
        ("seal to X25519", sealing(x25519)),
        (
            "sign 1 KiB with ES256",
            part(Box::new(move || {
                black_box(signing.sign_compact(&Map::new(), &[b'x'; 1024]).unwrap());
            })),
        ),
        (
            "report of the fake TEE",
            part(Box::new(move || {
                black_box(tee.report(&report_data).unwrap());
            })),
        ),
        (
            "write the whole document",
            part(Box::new(move || {
                black_box(document.to_text().unwrap());
            })),
        ),
        (
            "write it around evidence as text",
            part(Box::new(move || {
                black_box(ResultDocument::text_with(&jwe, &receipt, &evidence_text).unwrap());
            })),
        ),
    ]
}

/// Medians of several sides that take turns.
async fn medians(rounds: usize, sides: Arc<Vec<(&'static str, Side)>>) -> Vec<Duration> {
    let mut times = vec![Vec::new(); sides.len()];
    for number in 0..rounds + rounds / 10 {
        for ((_, side), times) in sides.iter().zip(&mut times) {
            let start = Instant::now();
            side.run().await;
            let took = start.elapsed();
            // The first rounds warm all sides up.
            if number >= rounds / 10 {
                times.push(took);
            }
        }
    }
    times.into_iter().map(median).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn main() {
    // `cargo test` and `--test` see that it works; only a real `cargo bench` takes its time.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let rounds = if given("--bench") && !given("--test") {
        2_000
    } else {
        2
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let guest = |name| build(name).unwrap().bytes.clone();
    let echo = guest(GuestName::Hostile);
    let inference = guest(GuestName::ConfidentialInference);
    let (sides, parts) = tokio.block_on(async {
        let p256 = PrivateKey::generate_p256().unwrap().public().clone();
        let x25519 = PrivateKey::generate_x25519().unwrap().public().clone();
        let policy = "version = 1\n";
        let sides = vec![
            ("raw instantiate and call, echo", Side::Raw(Raw::new(&echo))),
            (
                "warm task, echo, to P-256",
                Side::Ours(Ours::new(&echo, policy, &p256, ECHO).await),
            ),
            (
                "warm task, echo, to X25519",
                Side::Ours(Ours::new(&echo, policy, &x25519, ECHO).await),
            ),
            (
                "warm task, inference, to P-256",
                Side::Ours(Ours::new(&inference, INFERENCE_POLICY, &p256, QUESTION).await),
            ),
        ];
        (Arc::new(sides), Arc::new(parts(p256, x25519).await))
    });

    let mut criterion = Criterion::default().configure_from_args();
    for (name, side) in sides.iter().chain(parts.iter()) {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| tokio.block_on(side.run()));
        });
    }
    criterion.final_summary();

    // On a worker, as the daemon's tasks are, and not on the thread that blocks.
    let measure = |sides: &Arc<Vec<(&'static str, Side)>>| {
        let measuring = tokio.spawn(medians(rounds, Arc::clone(sides)));
        tokio.block_on(measuring).unwrap()
    };
    let times = measure(&sides);
    let raw = times.first().unwrap().as_secs_f64();
    println!(
        "\n{:<34} {:>9} {:>7}",
        format!("{rounds} rounds in turn, medians"),
        "us",
        "/ raw"
    );
    for ((name, _), time) in sides.iter().zip(&times) {
        println!(
            "{name:<34} {:>9.1} {:>7.2}",
            micros(*time),
            time.as_secs_f64() / raw
        );
    }
    println!("\nParts of a task by themselves");
    for ((name, _), time) in parts.iter().zip(measure(&parts)) {
        println!("{name:<34} {:>9.1}", micros(time));
    }
}
