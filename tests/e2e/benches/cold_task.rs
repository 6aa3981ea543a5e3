//! What a cold encrypted task costs, from the start message to the sealed result with its receipt, and
//! where its time goes.
//!
//! Cold means: the component was never seen, so it is pulled, decrypted, checked and compiled. The key
//! broker session lives, and the image comes from a registry on loopback, so nothing here is a network's
//! or a key broker's latency. The executor is the production one; MQTT is left out. Every round has an
//! image of its own, which differs from the others in a comment of its policy.
//!
//! The component has 2 MB in functions of the size that compilers make. Beside the whole stands raw
//! Wasmtime, which compiles, instantiates and calls the same component, and the parts by themselves:
//!
//! | part | is |
//! | --- | --- |
//! | pull | manifest, config and a layer of the same size, plain, checked against their digests |
//! | decrypt | what pulling takes longer when the layer is encrypted |
//! | compile | raw Wasmtime |
//! | instantiate, run, seal | the same task, warm |
//!
//! What is left is the release of the image's key by the key broker, and what the executor adds.
//!
//! All take turns, so a noisy machine disturbs all alike, and medians are compared. Nothing here fails
//! because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proplet_daemon::message::Decoded;
use proplet_executor::harden::Swap;
use proplet_executor::{Executor, Host};
use proplet_image::{
    Artifact, ImageReference, KeySource, KeySourceError, PullPolicy, Puller, push::push,
};
use proplet_jose::jwk::PrivateKey;
use proplet_lab::workload::{registry_over_http, with_recipients};
use proplet_lab::{KEY_ID, Sources};
use proplet_runtime::CancelToken;
use proplet_testkit::tee::FakeSnp;
use proplet_types::ResourceUri;
use wasm_encoder::{
    CodeSection, ComponentBuilder, ComponentExportKind, ComponentValType, ExportKind,
    ExportSection, Function, FunctionSection, Module, PrimitiveValType, TypeSection, ValType,
};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};
use zeroize::Zeroizing;

/// Size of the component that is measured.
const BYTES: usize = 2 << 20;
/// Size where only the benchmark itself is tested.
const TEST_BYTES: usize = 64 << 10;
/// What `run` is given, and what it returns.
const INPUTS: [u32; 2] = [40, 2];
const SUM: u32 = 42;

fn main() {
    // `cargo test` and `--test` see that it works; only a real `cargo bench` takes its time.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let (rounds, bytes) = if given("--bench") && !given("--test") {
        (25, BYTES)
    } else {
        (2, TEST_BYTES)
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let component = component(bytes);
    let size = component.len();
    let bench = tokio.block_on(Bench::new(component, rounds));
    // On a worker, as the daemon's tasks are, and not on the thread that blocks.
    let measuring = tokio.spawn(bench.measure());
    let medians = tokio.block_on(measuring).unwrap();
    print(&medians, rounds, size);
}

/// One world, with an image for each round.
struct Bench {
    component: Vec<u8>,
    executor: Executor,
    puller: Puller,
    sources: Sources,
    engine: Engine,
    encrypted: Vec<ImageReference>,
    plain: Vec<ImageReference>,
    keys: Keys,
}

impl Bench {
    async fn new(component: Vec<u8>, rounds: usize) -> Self {
        let sources = Sources::start().await.unwrap();
        let config = registry_over_http(&sources.registry.host());
        let recipient = PrivateKey::generate_p256().unwrap().public().clone();
        let (mut encrypted, mut plain) = (Vec::new(), Vec::new());
        let mut keys = Keys::default();
        // One more to begin with, which opens the session.
        for number in 0..=rounds {
            let policy = with_recipients(
                &format!("version = 1\n# {number}\n"),
                std::slice::from_ref(&recipient),
            );
            let key_id = format!("{KEY_ID}-{number}").parse().unwrap();
            let published = sources.publish("encrypted", &component, Some(&policy), key_id);
            let (workload, reference) = published.await.unwrap();
            keys.0
                .insert(workload.key_id.to_string(), workload.key.to_vec());
            encrypted.push(reference);
            let artifact = Artifact::wasm(workload.component.into()).unwrap();
            let reference = format!("{}/plain:{number}", sources.registry.host());
            let reference: ImageReference = reference.parse().unwrap();
            let digest = push(&config, &reference, &artifact).await.unwrap();
            plain.push(reference.with_digest(digest));
        }
        let settings = sources.settings("").unwrap();
        let mut host = Host::new(Arc::new(settings), Some(Arc::new(FakeSnp::new())));
        host.swap = Swap::None;
        let mut raw = Config::new();
        raw.concurrency_support(false).epoch_interruption(true);
        Self {
            component,
            executor: Executor::new(host).unwrap(),
            puller: Puller::new(config).unwrap(),
            sources,
            engine: Engine::new(&raw).unwrap(),
            encrypted,
            plain,
            keys,
        }
    }

    async fn measure(self) -> Vec<Duration> {
        let mut times = vec![Vec::new(); 6];
        for (number, (encrypted, plain)) in self.encrypted.iter().zip(&self.plain).enumerate() {
            let took = [
                timed(self.task(encrypted)).await,
                timed(self.task(encrypted)).await,
                timed(self.pull(plain)).await,
                timed(self.pull_and_decrypt(encrypted)).await,
                timed(async { drop(black_box(self.compile())) }).await,
                timed(self.raw()).await,
            ];
            // The first round opens the session and warms everything else up.
            if number > 0 {
                for (times, took) in times.iter_mut().zip(took) {
                    times.push(took);
                }
            }
        }
        // Config and layer, for the cold task and two pulls of each round: nothing came from a cache.
        let images = self.encrypted.len() as u64;
        assert_eq!(self.sources.registry.counts().blobs_read, images * 6);
        times.into_iter().map(median).collect()
    }

    /// The whole way, from the bytes of the start message.
    async fn task(&self, image: &ImageReference) {
        let message = format!(
            r#"{{"id":"task-1","name":"run","image_url":"{image}","encrypted":true,"inputs":["{}","{}"],"proplet_id":"p"}}"#,
            INPUTS[0], INPUTS[1]
        );
        let Decoded::Task(start) = Decoded::from_bytes(message.as_bytes(), "p") else {
            panic!("not a task: {message}");
        };
        let outcome = self
            .executor
            .execute(start.request, CancelToken::new())
            .await;
        assert_eq!(outcome.error, None);
        black_box(outcome.results);
    }

    /// A plain image of the same component.
    async fn pull(&self, image: &ImageReference) {
        let manifest = self.puller.resolve(image).await.unwrap();
        black_box(self.puller.pull_plain(&manifest).await.unwrap());
    }

    /// The key is at hand.
    async fn pull_and_decrypt(&self, image: &ImageReference) {
        let manifest = self.puller.resolve(image).await.unwrap();
        let policy = PullPolicy::default();
        let pulled = self.puller.pull_encrypted(&manifest, &self.keys, &policy);
        black_box(pulled.await.unwrap());
    }

    fn compile(&self) -> Component {
        Component::new(&self.engine, &self.component).unwrap()
    }

    async fn raw(&self) {
        let component = self.compile();
        let linker = Linker::<()>::new(&self.engine);
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1_000_000);
        let instance = linker
            .instantiate_async(&mut store, &component)
            .await
            .unwrap();
        let run = instance
            .get_typed_func::<(u32, u32), (u32,)>(&mut store, "run")
            .unwrap();
        let (sum,) = run
            .call_async(&mut store, (INPUTS[0], INPUTS[1]))
            .await
            .unwrap();
        assert_eq!(sum, SUM);
    }
}

/// The keys of all images.
#[derive(Default)]
struct Keys(HashMap<String, Vec<u8>>);

#[async_trait]
impl KeySource for Keys {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        Ok(Zeroizing::new(self.0[&kid.to_string()].clone()))
    }
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn print(medians: &[Duration], rounds: usize, size: usize) {
    let &[cold, warm, pull, decrypt, compile, raw] = medians else {
        panic!("six things are measured");
    };
    let decrypt = decrypt.saturating_sub(pull);
    let rest = cold.saturating_sub(pull + decrypt + compile + warm);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "\n{:<44} {:>9} {:>7}",
        format!("{rounds} rounds in turn, {size} bytes, medians"),
        "ms",
        "/ raw"
    );
    for (name, time) in [
        ("raw compile, instantiate and call", raw),
        ("cold task", cold),
        ("  pull", pull),
        ("  decrypt", decrypt),
        ("  compile", compile),
        ("  instantiate, run, seal (a warm task)", warm),
        ("  key release and the rest", rest),
    ] {
        println!(
            "{name:<44} {:>9.2} {:>7.3}",
            millis(time),
            time.as_secs_f64() / raw.as_secs_f64()
        );
    }
}

/// A component of about this size, whose `run` adds its two parameters. The rest is code that is compiled
/// and never called.
fn component(bytes: usize) -> Vec<u8> {
    let module = module(bytes);
    let mut builder = ComponentBuilder::default();
    let module = builder.core_module(None, &module);
    let instance = builder.core_instantiate::<_>(None, module, []);
    let core = builder.core_alias_export(None, instance, "run", ExportKind::Func);
    let (ty, mut function) = builder.type_function(None);
    let u32 = ComponentValType::Primitive(PrimitiveValType::U32);
    function.params([("a", u32), ("b", u32)]).result(Some(u32));
    let lifted = builder.lift_func(None, core, ty, []);
    builder.export("run", ComponentExportKind::Func, lifted, None);
    builder.finish()
}

fn module(bytes: usize) -> Module {
    let mut types = TypeSection::new();
    types
        .ty()
        .function([ValType::I32, ValType::I32], [ValType::I32]);
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    functions.function(0);
    let mut run = Function::new([]);
    run.instructions().local_get(0).local_get(1).i32_add().end();
    code.function(&run);
    let mut number = 0;
    while code.byte_len() < bytes {
        functions.function(0);
        code.function(&filler(number));
        number += 1;
    }
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&exports)
        .section(&code);
    module
}

/// A loop with branches, arithmetic and a call, about 250 bytes: what a small function of a real program
/// comes to.
fn filler(number: i32) -> Function {
    let mut function = Function::new([(4, ValType::I32)]);
    let mut body = function.instructions();
    body.loop_(wasm_encoder::BlockType::Empty);
    for step in 0..10 {
        let local = 2 + (step % 4) as u32;
        body.local_get(0)
            .i32_const(number.wrapping_mul(31).wrapping_add(step * 7919))
            .i32_mul()
            .local_get(local)
            .i32_xor()
            .local_tee(local)
            .local_get(1)
            .i32_lt_s()
            .if_(wasm_encoder::BlockType::Empty)
            .local_get(local)
            .i32_const(step + 1)
            .i32_shr_u()
            .local_set(1)
            .end();
    }
    body.local_get(5)
        .local_get(1)
        .call(0)
        .local_tee(2)
        .br_if(0)
        .end()
        .local_get(2)
        .end();
    function
}
