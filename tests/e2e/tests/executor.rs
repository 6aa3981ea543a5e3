//! Tasks through the executor: a real registry and a real key broker protocol, a fake TEE.
//!
//! What must hold for every task is in `invariants`, through the whole daemon. Here is what takes the
//! executor alone: many machines, many settings, many starts at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use proplet_executor::{
    Executor, Host, Request, Source, Task, TaskOutcome,
    binding::BindingRule,
    harden::{Swap, SwapRule},
};
use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{
    Sources,
    owner::{open_result, trust},
    workload::{EncryptedComponent, with_recipients},
};
use proplet_results::{
    EvidenceBundle, Opened,
    digest::of_inputs,
    verify::{Expectations, verify_bundle},
};
use proplet_runtime::CancelToken;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    guests::{GuestName, INFERENCE_POLICY, INFERENCE_WEIGHTS, INFERENCE_WEIGHTS_URI, build},
    registry::{Fault, Registry, Target},
    tee::{FakeSnp, HookedTee},
};
use proplet_types::{Digest, ResourceUri};
use tokio::sync::Semaphore;

const KEY_ID: &str = "kbs:///default/key/module";

/// Everything outside the proplet.
struct World {
    sources: Sources,
    tee: Arc<FakeSnp>,
    reader: PrivateKey,
}

impl World {
    async fn new() -> Self {
        Self {
            sources: Sources::start().await.unwrap(),
            tee: Arc::new(FakeSnp::new()),
            reader: PrivateKey::generate_p256().unwrap(),
        }
    }

    /// Encrypts and pushes a component, and gives its key to the key broker.
    async fn publish(
        &self,
        component: &[u8],
        policy: Option<&str>,
    ) -> (EncryptedComponent, ImageReference) {
        let published = self
            .sources
            .publish("module", component, policy, uri(KEY_ID));
        published.await.unwrap()
    }

    /// A policy that names the reader.
    fn policy(&self) -> String {
        with_recipients("version = 1\n", &[self.reader.public().clone()])
    }

    fn settings(&self, more: &str) -> Settings {
        self.sources.settings(more).unwrap()
    }

    fn host(&self, settings: Settings) -> Host {
        let mut host = Host::new(Arc::new(settings), Some(self.tee.clone()));
        host.swap = Swap::None;
        host
    }

    fn executor(&self) -> Executor {
        Executor::new(self.host(self.settings(""))).unwrap()
    }

    fn open(&self, results: &str, expected: &Expectations) -> Opened {
        open_result(&self.reader, results, expected).unwrap()
    }
}

fn uri(text: &str) -> ResourceUri {
    text.parse().unwrap()
}

fn start(image: &ImageReference) -> Request {
    asking(image, vec!["1234560000".into(), "7890".into()])
}

fn asking(image: &ImageReference, inputs: Vec<String>) -> Request {
    Request {
        source: Source::Encrypted {
            image: image.to_string(),
            expected_key: None,
        },
        task: Task {
            id: "task-1".into(),
            name: "sum".into(),
            inputs,
            arguments: Vec::new(),
            invoke: None,
            env: [("PATIENT".to_owned(), "canary-in-env".to_owned())].into(),
            watch: Default::default(),
            record: None,
        },
    }
}

async fn execute(executor: &Executor, start: Request) -> TaskOutcome {
    executor.execute(start, CancelToken::new()).await
}

fn code(outcome: &TaskOutcome) -> &'static str {
    outcome
        .error
        .as_ref()
        .map_or("", |refusal| refusal.code().as_str())
}

fn sum() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"run\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_sealed_to_the_policys_recipient_and_its_receipt_verifies() {
    let world = World::new().await;
    let (workload, image) = world.publish(&sum(), Some(&world.policy())).await;
    let executor = world.executor();
    let outcome = execute(&executor, start(&image)).await;
    assert_eq!(outcome.error, None);
    // Ten digits: four stand by chance in so much base64 now and then.
    assert!(!outcome.results.contains("1234567890"));
    let expected = Expectations {
        component: Some(workload.component_digest().to_string().parse().unwrap()),
        image: Some(workload.image_digest().to_string().parse().unwrap()),
        settings: Some(world.settings("").digest),
        inputs: Some(of_inputs(&["1234560000", "7890"]).unwrap()),
        task_id: Some("task-1".into()),
        export: Some("run".into()),
        recipients: Some(vec![world.reader.public().thumbprint()]),
        ..Expectations::of_measurements([FakeSnp::MEASUREMENT.to_vec()])
    };
    let opened = world.open(&outcome.results, &expected);
    assert_eq!(opened.content.as_slice(), b"1234567890");
    let receipt = opened.report.receipt.unwrap();
    assert!(receipt.policy_digest.is_some());
    assert_eq!(receipt.attester, "fake-snp");
    assert_eq!(receipt.limits["handles"], 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_start_by_digest_asks_nobody() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy())).await;
    let executor = world.executor();
    execute(&executor, start(&image)).await;
    let (kbs, registry) = (
        world.sources.key_broker.counts(),
        world.sources.registry.counts(),
    );
    let quotes = world.tee.evidence_calls();
    for _ in 0..3 {
        let outcome = execute(&executor, start(&image)).await;
        assert_eq!(
            world
                .open(&outcome.results, &Expectations::of_any_measurement())
                .content[..],
            *b"1234567890"
        );
    }
    assert_eq!(world.sources.key_broker.counts(), kbs);
    assert_eq!(world.sources.registry.counts(), registry);
    assert_eq!(world.tee.evidence_calls(), quotes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_starts_at_once_pull_and_attest_once() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy())).await;
    let executor = world.executor();
    let before = world.sources.registry.counts().blobs_read;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (executor, start) = (executor.clone(), start(&image));
            tokio::spawn(async move { execute(&executor, start).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(code(&task.await.unwrap()), "");
    }
    assert_eq!(world.sources.key_broker.counts().attest, 1);
    assert_eq!(world.sources.key_broker.counts().released, 1);
    // Config and layer.
    assert_eq!(world.sources.registry.counts().blobs_read - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_component_comes_from_an_address_that_is_allowed() {
    let world = World::new().await;
    let host = world.sources.registry.host();
    let digest = world.sources.registry.insert_blob(sum());
    let at = |path: &str| Request {
        source: Source::Plain(format!("http://{host}/v2/any/blobs/{path}")),
        ..start(&"any/image".parse().unwrap())
    };
    let executor = world.executor();
    let outcome = execute(&executor, at(&digest)).await;
    assert_eq!(
        (outcome.results.as_str(), code(&outcome)),
        ("1234567890", "")
    );
    let missing = format!("sha256:{}", "0".repeat(64));
    assert_eq!(
        code(&execute(&executor, at(&missing)).await),
        "image-not-found"
    );

    for text in ["", "[registry]\nregistries = [\"ghcr.io\"]"] {
        let settings = Settings::parse(Some(text), &Environment::default()).unwrap();
        let executor = Executor::new(world.host(settings)).unwrap();
        assert_eq!(
            code(&execute(&executor, at(&digest)).await),
            "image-not-allowed",
            "{text}"
        );
    }
    let text = format!("[registry]\nhttp_hosts = [{host:?}]\nmax_layer_bytes = 16\n");
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let executor = Executor::new(world.host(settings)).unwrap();
    assert_eq!(
        code(&execute(&executor, at(&digest)).await),
        "image-too-large"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_comes_as_servers_send_it() {
    let world = World::new().await;
    let storage = Registry::start().await.unwrap();
    let digest = world.sources.registry.insert_blob(sum());
    storage.insert_blob(sum());
    let at = |registry: &Registry| format!("http://{}/v2/any/blobs/{digest}", registry.host());
    let text = format!(
        "[registry]\nhttp_hosts = [{:?}, {:?}]\n",
        world.sources.registry.host(),
        storage.host()
    );
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let executor = Executor::new(world.host(settings)).unwrap();
    let run = async |times, fault: Fault| {
        world.sources.registry.heal();
        world
            .sources
            .registry
            .inject_times(times, Target::Blobs, fault);
        let source = Source::Plain(at(&world.sources.registry));
        let request = Request {
            source,
            ..start(&"any/image".parse().unwrap())
        };
        execute(&executor, request).await
    };
    let typed = |kind: &str| Fault::Header("content-type", kind.to_owned());
    for fault in [
        typed("application/wasm"),
        typed("Application/WASM"),
        typed("application/wasm; charset=utf-8"),
        typed("binary/octet-stream"),
        typed("text/plain"),
        typed(""),
        Fault::Redirect(at(&storage)),
        Fault::Redirect(format!("/v2/some/blobs/{digest}")),
    ] {
        let outcome = run(1, fault.clone()).await;
        let result = (outcome.results.as_str(), code(&outcome));
        assert_eq!(result, ("1234567890", ""), "{fault:?}");
    }
    // Trouble that passes: the second try gets it.
    for fault in [Fault::Later(429, "0".to_owned()), Fault::Break(9)] {
        assert_eq!(run(1, fault).await.results, "1234567890");
    }
    for (fault, expected) in [
        (Fault::Body("<html></html>".into()), "image-layout"),
        (
            Fault::Header("content-encoding", "br".to_owned()),
            "image-layout",
        ),
        (
            Fault::Redirect(at(&world.sources.registry)),
            "registry-unavailable",
        ),
        (
            Fault::Redirect("https://127.0.0.1:1/".to_owned()),
            "registry-unavailable",
        ),
        (
            Fault::Redirect("http://169.254.169.254/".to_owned()),
            "registry-unavailable",
        ),
        (
            Fault::Redirect(format!("http://{}/none", storage.host())),
            "registry-unavailable",
        ),
    ] {
        let outcome = run(usize::MAX, fault.clone()).await;
        assert_eq!(code(&outcome), expected, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_may_not_asks_nobody() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy())).await;
    let reads = world.sources.registry.counts();

    let mut no_tee = world.host(world.settings(""));
    no_tee.provider = None;
    let mut swap = world.host(world.settings(""));
    swap.swap = Swap::Present(vec!["/swapfile".into()]);
    let mut unbound = world.host(world.settings(""));
    unbound.binding_rule = BindingRule::Always;
    let no_document = Settings::parse(None, &Environment::default()).unwrap();
    let no_kbs = Settings::parse(Some("[limits]\n"), &Environment::default()).unwrap();
    for (host, expected) in [
        (no_tee, "no-tee"),
        (swap, "swap-present"),
        (unbound, "settings-not-measured"),
        (world.host(no_document), "settings-missing"),
        (world.host(no_kbs), "kbs-not-configured"),
        (world.host(world.settings("[limits]\ntasks = 1\n")), ""),
    ] {
        let executor = Executor::new(host).unwrap();
        let outcome = execute(&executor, start(&image)).await;
        assert_eq!(code(&outcome), expected);
        if !expected.is_empty() {
            assert_eq!(world.sources.registry.counts(), reads);
            assert_eq!(world.sources.key_broker.counts().auth, 0);
            assert_eq!(executor.readiness().await.refusal.unwrap().code(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_document_passes_the_rule_and_swap_can_be_tolerated() {
    let mut world = World::new().await;
    let settings = world.settings("");
    world.tee = Arc::new(
        FakeSnp::builder()
            .host_data(settings.init_data.as_ref().unwrap().host_data())
            .build(),
    );
    let (_, image) = world.publish(&sum(), Some(&world.policy())).await;
    let mut host = world.host(settings);
    host.binding_rule = BindingRule::Always;
    host.swap = Swap::Present(vec!["/swapfile".into()]);
    host.swap_rule = SwapRule::Warn;
    let executor = Executor::new(host).unwrap();
    assert_eq!(code(&execute(&executor, start(&image)).await), "");
    let warnings = executor.readiness().await.warnings.join("\n");
    assert!(
        warnings.contains("swap") && warnings.contains("NOT a hardware TEE"),
        "{warnings}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allow_list_is_asked_before_the_registry() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy())).await;
    let text = format!(
        "[registry]\nhttp_hosts = [{:?}]\nrepositories = [\"ghcr.io/*\"]\n[kbs]\nurl = {:?}\n\
         allow_http = true\n",
        world.sources.registry.host(),
        world.sources.key_broker.url()
    );
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let reads = world.sources.registry.counts();
    let executor = Executor::new(world.host(settings)).unwrap();
    assert_eq!(
        code(&execute(&executor, start(&image)).await),
        "image-not-allowed"
    );
    assert_eq!(world.sources.registry.counts(), reads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_task_ends_with_its_code() {
    let world = World::new().await;
    let spin = wat::parse_str("(module (func (export \"run\") (loop $a (br $a))))").unwrap();
    let (_, image) = world.publish(&spin, Some(&world.policy())).await;
    let executor = world.executor();
    let early = CancelToken::new();
    early.cancel();
    let outcome = executor.execute(start(&image), early).await;
    assert_eq!((code(&outcome), outcome.results.as_str()), ("stopped", ""));
    assert_eq!(world.sources.key_broker.counts().auth, 0);
}

async fn guest(name: GuestName) -> Vec<u8> {
    let built = tokio::task::spawn_blocking(move || build(name))
        .await
        .unwrap();
    built.unwrap().bytes.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_gets_its_secret_attests_itself_and_publishes() {
    let world = World::new().await;
    world
        .sources
        .key_broker
        .set_resource(&uri(INFERENCE_WEIGHTS_URI), INFERENCE_WEIGHTS.as_bytes());
    let component = guest(GuestName::ConfidentialInference).await;
    let policy = with_recipients(INFERENCE_POLICY, &[world.reader.public().clone()]);
    let (workload, image) = world.publish(&component, Some(&policy)).await;
    let question = r#"{"nonce":"n-1","samples":[[5.1,3.5,1.4,0.2]]}"#;
    let ask = asking(&image, vec![question.into()]);
    let outcome = execute(&world.executor(), ask).await;
    assert_eq!(outcome.error, None);
    let digest: Digest = workload.component_digest().to_string().parse().unwrap();
    let expected = Expectations {
        component: Some(digest),
        policy: Some(Digest::of(policy.as_bytes())),
        export: Some("run".into()),
        ..Expectations::of_any_measurement()
    };
    let opened = world.open(&outcome.results, &expected);
    assert_eq!(opened.media_type, "application/json");
    let answer: serde_json::Value = serde_json::from_slice(&opened.content).unwrap();
    assert_eq!(answer["predictions"][0]["class"], "setosa");
    let evidence: EvidenceBundle = answer["evidence"].to_string().parse().unwrap();
    let expected = Expectations {
        challenge: Some(b"n-1".to_vec()),
        component: Some(digest),
        task_id: Some("task-1".into()),
        ..Expectations::of_any_measurement()
    };
    let trust = trust();
    verify_bundle(&evidence, &trust, &expected, SystemTime::now()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_tasks_on_a_cold_session_cost_three_quotes_at_most() {
    const TASKS: usize = 200;
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy())).await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let fake = Arc::new(FakeSnp::new());
    let tee = Arc::new(HookedTee::new(fake.clone(), move |_| {
        let gate = Arc::clone(&gate);
        async move { gate.acquire().await.unwrap().forget() }
    }));
    let mut host = world.host(world.settings("[limits]\ntasks = 256\n"));
    host.provider = Some(tee.clone());
    let executor = Executor::new(host).unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (executor, image, begun) = (executor.clone(), image.clone(), begun.clone());
            tokio::spawn(async move {
                begun.fetch_add(1, Ordering::Relaxed);
                execute(&executor, start(&image)).await
            })
        })
        .collect();
    // All are there before the first quote is made.
    while begun.load(Ordering::Relaxed) < TASKS || tee.evidence_calls() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tee.evidence_calls(), 1);
    opened.add_permits(TASKS);
    for task in tasks {
        let outcome = task.await.unwrap();
        assert_eq!(outcome.error, None);
        assert!(!outcome.results.is_empty());
    }
    // One for the handshake and one for the receipt key. What binds the VM was asked for by the gate and by
    // the handshake.
    assert_eq!(fake.evidence_calls(), 2);
    assert_eq!(tee.init_data_calls(), 2);
}
