//! Encrypted tasks through the executor: a real registry and a real key broker protocol, a fake TEE.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use proplet_executor::{
    Executor, Host, Request, Source, Task, TaskOutcome,
    binding::BindingRule,
    harden::{Swap, SwapRule},
};
use proplet_hal::verify::TrustPolicy;
use proplet_image::ImageReference;
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_kbs::ResourceUri;
use proplet_lab::workload::{Workload, registry_over_http, with_recipients};
use proplet_results::{
    Digest, EvidenceBundle, Opened, ResultDocument,
    digest::of_inputs,
    open,
    verify::{Expectations, verify_bundle},
};
use proplet_runtime::{CancelToken, Policy};
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    guests::{GuestName, INFERENCE_POLICY, INFERENCE_WEIGHTS, INFERENCE_WEIGHTS_URI, build},
    kbs::{DevKeyBroker, Policy as Release},
    registry::{Fault, Registry, Target},
    tee::{FakeSnp, test_roots},
};

const KEY_ID: &str = "kbs:///default/key/module";

/// Everything outside the proplet.
struct World {
    registry: Registry,
    kbs: DevKeyBroker,
    tee: Arc<FakeSnp>,
    reader: PrivateKey,
}

impl World {
    async fn new() -> Self {
        Self {
            registry: Registry::start().await.unwrap(),
            kbs: DevKeyBroker::start().await.unwrap(),
            tee: Arc::new(FakeSnp::new()),
            reader: PrivateKey::generate_p256().unwrap(),
        }
    }

    /// Encrypts and pushes a component, and gives its key to the key broker.
    async fn publish(&self, component: &[u8], policy: Option<&str>) -> (Workload, ImageReference) {
        let workload = Workload::encrypt(component, policy, uri(KEY_ID)).unwrap();
        self.kbs
            .set_resource(&workload.key_id, workload.key.as_ref());
        let host = self.registry.host();
        let reference = format!("{host}/module:v1").parse().unwrap();
        let pinned = workload
            .push(&registry_over_http(&host), &reference)
            .await
            .unwrap();
        (workload, pinned)
    }

    /// A policy that names the reader.
    fn policy(&self, more: &str) -> String {
        with_recipients(
            &format!("version = 1\n{more}"),
            &[self.reader.public().clone()],
        )
    }

    fn settings(&self, more: &str) -> Settings {
        let text = format!(
            "[registry]\nhttp_hosts = [{:?}]\n[kbs]\nurl = {:?}\nallow_http = true\n{more}",
            self.registry.host(),
            self.kbs.url(),
        );
        Settings::parse(Some(&text), &Environment::default()).unwrap()
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
        open_with(&self.reader, results, expected)
    }
}

fn open_with(key: &PrivateKey, results: &str, expected: &Expectations) -> Opened {
    let document = ResultDocument::from_text(results).unwrap();
    let trust = TrustPolicy::with_snp_roots(test_roots());
    open(&document, key, &trust, expected, SystemTime::now()).unwrap()
}

fn uri(text: &str) -> ResourceUri {
    text.parse().unwrap()
}

fn start(image: &ImageReference) -> Request {
    asking(image, vec!["4700".into(), "11".into()])
}

fn asking(image: &ImageReference, inputs: Vec<String>) -> Request {
    Request {
        source: Source::Encrypted {
            image: image.to_string(),
            kbs_resource_path: None,
        },
        task: Task {
            id: "task-1".into(),
            name: "sum".into(),
            inputs,
            arguments: Vec::new(),
            invoke: None,
            env: [("PATIENT".to_owned(), "canary-in-env".to_owned())].into(),
        },
    }
}

async fn execute(executor: &Executor, start: Request) -> TaskOutcome {
    executor.execute(start, CancelToken::new()).await
}

fn code(outcome: &TaskOutcome) -> &'static str {
    outcome.error.as_ref().map_or("", |refusal| refusal.code())
}

fn sum() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"run\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

/// Says something confidential on standard error, then traps.
fn telltale() -> Vec<u8> {
    wat::parse_str(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 16) "canary-of-the-guest")
          (func $canary_in_a_name (export "_start")
            (i32.store (i32.const 0) (i32.const 16))
            (i32.store (i32.const 4) (i32.const 19))
            (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
            unreachable))"#,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_sealed_to_the_policys_recipient_and_its_receipt_verifies() {
    let world = World::new().await;
    let (workload, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let executor = world.executor();
    let outcome = execute(&executor, start(&image)).await;
    assert_eq!(outcome.error, None);
    assert!(!outcome.results.contains("4711"));
    let expected = Expectations {
        component: Some(workload.component_digest().to_string().parse().unwrap()),
        image: Some(workload.image_digest().to_string().parse().unwrap()),
        settings: Some(world.settings("").digest.parse().unwrap()),
        inputs: Some(of_inputs(&["4700", "11"]).unwrap()),
        task_id: Some("task-1".into()),
        export: Some("run".into()),
        recipients: Some(vec![world.reader.public().thumbprint()]),
        ..Expectations::of_measurements([FakeSnp::MEASUREMENT.to_vec()])
    };
    let opened = world.open(&outcome.results, &expected);
    assert_eq!(opened.content.as_slice(), b"4711");
    let receipt = opened.report.receipt.unwrap();
    assert!(receipt.policy_digest.is_some());
    assert_eq!(receipt.attester, "fake-snp");
    assert_eq!(receipt.limits["handles"], 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_sealed_and_only_codes_are_in_clear() {
    let world = World::new().await;
    let (_, image) = world.publish(&telltale(), Some(&world.policy(""))).await;
    let outcome = execute(&world.executor(), asking(&image, Vec::new())).await;
    let error = outcome.error.unwrap();
    assert_eq!(error.code(), "guest-trapped");
    for canary in ["canary", "unreachable"] {
        assert!(!error.full_text().contains(canary), "{error}");
        assert!(!outcome.results.contains(canary), "{}", outcome.results);
    }
    let failure = world
        .open(&outcome.results, &Expectations::of_any_measurement())
        .failure()
        .unwrap();
    assert_eq!(failure.stderr, "canary-of-the-guest");
    assert!(failure.error.contains("unreachable"), "{}", failure.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_does_not_compile_is_reported_to_its_owner() {
    let world = World::new().await;
    let mut broken = sum();
    broken.truncate(broken.len() - 2);
    let policy = "version = 1";
    let text = with_recipients("", &[world.reader.public().clone()]);
    let settings = format!("[confidential]\n{text}");
    // A broken component cannot get a policy, so the settings name the reader.
    assert!(Workload::encrypt(&broken, Some(policy), uri(KEY_ID)).is_err());
    let (_, image) = world.publish(&broken, None).await;
    let executor = Executor::new(world.host(world.settings(&settings))).unwrap();
    let outcome = execute(&executor, start(&image)).await;
    assert_eq!(code(&outcome), "component-invalid");
    assert!(
        world
            .open(&outcome.results, &Expectations::of_any_measurement())
            .failure()
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_start_by_digest_asks_nobody() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let executor = world.executor();
    execute(&executor, start(&image)).await;
    let (kbs, registry) = (world.kbs.counts(), world.registry.counts());
    let quotes = world.tee.evidence_calls();
    for _ in 0..3 {
        let outcome = execute(&executor, start(&image)).await;
        assert_eq!(
            world
                .open(&outcome.results, &Expectations::of_any_measurement())
                .content[..],
            *b"4711"
        );
    }
    assert_eq!(world.kbs.counts(), kbs);
    assert_eq!(world.registry.counts(), registry);
    assert_eq!(world.tee.evidence_calls(), quotes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_the_session_that_released_it() {
    let mut world = World::new().await;
    world.kbs = DevKeyBroker::builder()
        .token_lifetime(Duration::from_secs(1))
        .start()
        .await
        .unwrap();
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let executor = world.executor();
    assert_eq!(code(&execute(&executor, start(&image)).await), "");
    world.kbs.set_policy(Release::DenyAll);
    // The client takes a session for ended before its token is: no key, no code, no secret is left.
    let mut outcome = execute(&executor, start(&image)).await;
    while outcome.error.is_none() {
        tokio::task::yield_now().await;
        executor.forget_expired();
        outcome = execute(&executor, start(&image)).await;
    }
    assert_eq!(code(&outcome), "kbs-denied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_starts_at_once_pull_and_attest_once() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let executor = world.executor();
    let before = world.registry.counts().blobs_read;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (executor, start) = (executor.clone(), start(&image));
            tokio::spawn(async move { execute(&executor, start).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(code(&task.await.unwrap()), "");
    }
    assert_eq!(world.kbs.counts().attest, 1);
    assert_eq!(world.kbs.counts().released, 1);
    // Config and layer.
    assert_eq!(world.registry.counts().blobs_read - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_expected_key_must_be_the_images_key_cold_and_warm() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let executor = world.executor();
    let with_path = |path: &str| Request {
        source: Source::Encrypted {
            image: image.to_string(),
            kbs_resource_path: Some(path.to_owned()),
        },
        ..start(&image)
    };
    assert_eq!(
        code(&execute(&executor, with_path("default/key/x")).await),
        "image-key-mismatch"
    );
    assert_eq!(world.kbs.counts().resources, 0);
    assert_eq!(
        code(&execute(&executor, with_path("default/key/module")).await),
        ""
    );
    assert_eq!(
        code(&execute(&executor, with_path("default/key/x")).await),
        "image-key-mismatch"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_id_that_names_another_key_broker_is_refused_and_nobody_is_asked() {
    let world = World::new().await;
    let foreign = uri("kbs://kbs.evil.example/default/key/module");
    let workload = Workload::encrypt(&sum(), Some(&world.policy("")), foreign).unwrap();
    let host = world.registry.host();
    let reference = format!("{host}/foreign:v1").parse().unwrap();
    let image = workload
        .push(&registry_over_http(&host), &reference)
        .await
        .unwrap();
    assert_eq!(
        code(&execute(&world.executor(), start(&image)).await),
        "image-key-mismatch"
    );
    assert_eq!(world.kbs.counts().auth, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_image_is_no_encrypted_task() {
    let world = World::new().await;
    let host = world.registry.host();
    let reference: ImageReference = format!("{host}/plain:v1").parse().unwrap();
    let artifact = proplet_image::Artifact::wasm(sum().into()).unwrap();
    let config = registry_over_http(&host);
    proplet_image::push::push(&config, &reference, &artifact)
        .await
        .unwrap();
    let executor = world.executor();
    assert_eq!(
        code(&execute(&executor, start(&reference)).await),
        "image-not-encrypted"
    );
    let plain = Request {
        source: Source::Plain(reference.to_string()),
        ..start(&reference)
    };
    let outcome = execute(&executor, plain).await;
    assert_eq!((outcome.results.as_str(), code(&outcome)), ("4711", ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_component_comes_from_an_address_that_is_allowed() {
    let world = World::new().await;
    let host = world.registry.host();
    let digest = world.registry.insert_blob(sum());
    let at = |path: &str| Request {
        source: Source::Plain(format!("http://{host}/v2/any/blobs/{path}")),
        ..start(&"any/image".parse().unwrap())
    };
    let executor = world.executor();
    let outcome = execute(&executor, at(&digest)).await;
    assert_eq!((outcome.results.as_str(), code(&outcome)), ("4711", ""));
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
    let digest = world.registry.insert_blob(sum());
    storage.insert_blob(sum());
    let at = |registry: &Registry| format!("http://{}/v2/any/blobs/{digest}", registry.host());
    let text = format!(
        "[registry]\nhttp_hosts = [{:?}, {:?}]\n",
        world.registry.host(),
        storage.host()
    );
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let executor = Executor::new(world.host(settings)).unwrap();
    let run = async |times, fault: Fault| {
        world.registry.heal();
        world.registry.inject_times(times, Target::Blobs, fault);
        let source = Source::Plain(at(&world.registry));
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
        assert_eq!(result, ("4711", ""), "{fault:?}");
    }
    // Trouble that passes: the second try gets it.
    for fault in [Fault::Later(429, "0".to_owned()), Fault::Break(9)] {
        assert_eq!(run(1, fault).await.results, "4711");
    }
    for (fault, expected) in [
        (Fault::Body("<html></html>".into()), "image-layout"),
        (
            Fault::Header("content-encoding", "br".to_owned()),
            "image-layout",
        ),
        (Fault::Redirect(at(&world.registry)), "registry-unavailable"),
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
async fn an_encrypted_image_is_no_plain_task() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let plain = Request {
        source: Source::Plain(image.to_string()),
        ..start(&image)
    };
    assert_eq!(
        code(&execute(&world.executor(), plain).await),
        "image-encrypted"
    );
    assert_eq!(world.kbs.counts().auth, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_may_not_asks_nobody() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let reads = world.registry.counts();

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
            assert_eq!(world.registry.counts(), reads);
            assert_eq!(world.kbs.counts().auth, 0);
            assert_eq!(executor.readiness().await.refusal.unwrap().code(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_document_passes_the_rule_and_swap_can_be_tolerated() {
    let mut world = World::new().await;
    let settings = world.settings("");
    world.tee = Arc::new(FakeSnp::builder().host_data(settings.digest_bytes).build());
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
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
async fn recipients_are_the_first_found_and_never_a_union() {
    let world = World::new().await;
    let other = PrivateKey::generate_x25519().unwrap();
    let fallback = with_recipients("", &[other.public().clone()]);
    let settings = format!("[confidential]\n{fallback}");
    let executor = || Executor::new(world.host(world.settings(&settings))).unwrap();
    let thumbprints = |key: &PublicKey| Expectations {
        recipients: Some(vec![key.thumbprint()]),
        ..Expectations::of_any_measurement()
    };

    let (_, named) = world.publish(&sum(), Some(&world.policy(""))).await;
    let outcome = execute(&executor(), start(&named)).await;
    world.open(&outcome.results, &thumbprints(world.reader.public()));

    let (_, unnamed) = world.publish(&sum(), Some("version = 1")).await;
    let outcome = execute(&executor(), start(&unnamed)).await;
    open_with(&other, &outcome.results, &thumbprints(other.public()));

    let set = serde_json::json!({"keys": [world.reader.public().to_jwk()]}).to_string();
    world
        .kbs
        .set_resource(&uri("kbs:///default/recipients/all"), set.as_bytes());
    let policy = "version = 1\nrecipients_resource = \"kbs:///default/recipients/all\"";
    let (_, resource) = world.publish(&sum(), Some(policy)).await;
    let outcome = execute(&executor(), start(&resource)).await;
    world.open(&outcome.results, &thumbprints(world.reader.public()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_usable_recipients_nothing_runs() {
    let world = World::new().await;
    world
        .kbs
        .set_resource(&uri("kbs:///default/recipients/bad"), b"{}");
    world
        .kbs
        .set_resource(&uri("kbs:///other/recipients/all"), b"{\"keys\":[]}");
    let resource = |path: &str| format!("version = 1\nrecipients_resource = \"kbs:///{path}\"");
    for (policy, expected) in [
        (Some("version = 1".to_owned()), "no-recipients"),
        (None, "no-recipients"),
        (
            Some(resource("default/recipients/bad")),
            "recipients-invalid",
        ),
        (Some(resource("other/recipients/all")), "recipients-invalid"),
        (Some(resource("default/recipients/none")), "kbs-not-found"),
    ] {
        let (_, image) = world.publish(&telltale(), policy.as_deref()).await;
        let outcome = execute(&world.executor(), start(&image)).await;
        assert_eq!(code(&outcome), expected, "{policy:?}");
        assert_eq!(outcome.results, "");
        assert_eq!(outcome.usage, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_does_not_allow_is_not_invoked() {
    let world = World::new().await;
    let (_, image) = world
        .publish(&sum(), Some(&world.policy("exports = []")))
        .await;
    let outcome = execute(&world.executor(), start(&image)).await;
    assert_eq!(code(&outcome), "export-not-allowed");
    let failure = world
        .open(&outcome.results, &Expectations::of_any_measurement())
        .failure()
        .unwrap();
    assert!(failure.error.contains("run"), "{}", failure.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_key_and_a_key_broker_that_is_away_have_their_own_codes() {
    let mut world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    world.kbs.set_policy(Release::DenyAll);
    assert_eq!(
        code(&execute(&world.executor(), start(&image)).await),
        "kbs-denied"
    );
    let settings = world.settings("timeout_seconds = 1\n");
    let gone = std::mem::replace(&mut world.kbs, DevKeyBroker::start().await.unwrap());
    gone.shutdown().await;
    let executor = Executor::new(world.host(settings)).unwrap();
    assert_eq!(
        code(&execute(&executor, start(&image)).await),
        "kbs-unavailable"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allow_list_is_asked_before_the_registry() {
    let world = World::new().await;
    let (_, image) = world.publish(&sum(), Some(&world.policy(""))).await;
    let text = format!(
        "[registry]\nhttp_hosts = [{:?}]\nrepositories = [\"ghcr.io/*\"]\n[kbs]\nurl = {:?}\n\
         allow_http = true\n",
        world.registry.host(),
        world.kbs.url()
    );
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let reads = world.registry.counts();
    let executor = Executor::new(world.host(settings)).unwrap();
    assert_eq!(
        code(&execute(&executor, start(&image)).await),
        "image-not-allowed"
    );
    assert_eq!(world.registry.counts(), reads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_task_ends_with_its_code() {
    let world = World::new().await;
    let spin = wat::parse_str("(module (func (export \"run\") (loop $a (br $a))))").unwrap();
    let (_, image) = world.publish(&spin, Some(&world.policy(""))).await;
    let executor = world.executor();
    let early = CancelToken::new();
    early.cancel();
    let outcome = executor.execute(start(&image), early).await;
    assert_eq!((code(&outcome), outcome.results.as_str()), ("stopped", ""));
    assert_eq!(world.kbs.counts().auth, 0);
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
        .kbs
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
        component: Some(digest.clone()),
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
    let trust = TrustPolicy::with_snp_roots(test_roots());
    verify_bundle(&evidence, &trust, &expected, SystemTime::now()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reaches_its_own_repository_only() {
    let world = World::new().await;
    let [own, other] = ["kbs:///default/test/canary", "kbs:///other/test/canary"];
    for address in [own, other] {
        world.kbs.set_resource(&uri(address), b"CANARY");
    }
    // Whoever has a key of one repository can write a policy that asks for another's secrets.
    let policy = world.policy(&format!(
        "[[secrets]]\nuri = {own:?}\nreveal = true\n[[secrets]]\nuri = {other:?}\nreveal = true\n"
    ));
    let component = guest(GuestName::SecretProbe).await;
    let (_, image) = world.publish(&component, Some(&policy)).await;
    let executor = world.executor();
    let ask = |address: &str| asking(&image, vec![format!("reveal {address}")]);
    let outcome = execute(&executor, ask(own)).await;
    assert_eq!(
        world
            .open(&outcome.results, &Expectations::of_any_measurement())
            .content[..],
        *b"CANARY"
    );
    let released = world.kbs.counts().resources;
    let outcome = execute(&executor, ask(other)).await;
    assert_eq!(code(&outcome), "guest-failed");
    let failure = world
        .open(&outcome.results, &Expectations::of_any_measurement())
        .failure()
        .unwrap();
    assert!(failure.error.contains("repository"), "{}", failure.error);
    assert_eq!(world.kbs.counts().resources, released);

    // The same bytes as a plain task: a policy in a plain component counts for nothing.
    let plain = Policy::embed(&component, policy.as_bytes()).unwrap();
    let outcome = execute(
        &executor,
        Request {
            source: Source::File(plain),
            ..ask(own)
        },
    )
    .await;
    assert_eq!(code(&outcome), "import-not-granted");
    assert!(!outcome.results.contains("CANARY"));
}
