//! What an invocation of a latent encrypted task costs, warm, beside a warm task of the same component.
//!
//! Both end in a sealed result with its receipt, on the production executor with a fake TEE, as in `warm_task`; MQTT is
//! left out. A task names its image by digest and is found ready; an invocation finds its component through what was
//! kept of the start. They take turns, and medians are compared.
//!
//! Nothing here fails because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proplet_executor::harden::Swap;
use proplet_executor::{Executor, Host, Invoked, Latent, Request, Source, Task};
use proplet_jose::jwk::PrivateKey;
use proplet_lab::workload::with_recipients;
use proplet_lab::{KEY_ID, Sources};
use proplet_runtime::CancelToken;
use proplet_testkit::guests::{GuestName, build};
use proplet_testkit::tee::FakeSnp;

/// The production executor, with one component that is prepared.
struct Scene {
    executor: Executor,
    start: Request,
    latent: Latent,
    /// They must live as long as the executor might ask them.
    _sources: Sources,
}

impl Scene {
    async fn new(component: &[u8]) -> Self {
        let sources = Sources::start().await.unwrap();
        let recipient = PrivateKey::generate_p256().unwrap();
        let policy = with_recipients("version = 1\n", &[recipient.public().clone()]);
        let key_id = KEY_ID.parse().unwrap();
        let published = sources.publish("module", component, Some(&policy), key_id);
        let (_, pinned) = published.await.unwrap();
        let mut host = Host::new(
            Arc::new(sources.settings("").unwrap()),
            Some(Arc::new(FakeSnp::new())),
        );
        host.swap = Swap::None;
        let executor = Executor::new(host).unwrap();
        let start = Request {
            source: Source::Encrypted {
                image: pinned.to_string(),
                expected_key: None,
            },
            task: Task {
                id: "task-1".into(),
                name: "bench".into(),
                inputs: vec!["echo 4711".into()],
                arguments: Vec::new(),
                invoke: None,
                env: Default::default(),
                watch: Default::default(),
                record: None,
            },
        };
        let never = CancelToken::new();
        let Ok(latent) = executor.prepare_latent(start.clone(), &never).await else {
            panic!("it cannot be prepared");
        };
        Self {
            executor,
            start,
            latent,
            _sources: sources,
        }
    }

    async fn task(&self) {
        let run = self
            .executor
            .execute(self.start.clone(), CancelToken::new());
        let outcome = run.await;
        assert_eq!(outcome.error, None);
        black_box(outcome.results);
    }

    async fn invocation(&self) {
        let task = self.start.task.clone();
        let run = self
            .executor
            .invoke(&self.latent, "invocation-1", task, CancelToken::new());
        let Invoked::Ran(outcome) = run.await else {
            panic!("it was refused");
        };
        assert_eq!(outcome.error, None);
        black_box(outcome.results);
    }
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

async fn medians(rounds: usize, scene: Arc<Scene>) -> [Duration; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..rounds + rounds / 10 {
        let took = [timed(scene.task()).await, timed(scene.invocation()).await];
        // The first rounds warm both up.
        if number >= rounds / 10 {
            for (times, took) in times.iter_mut().zip(took) {
                times.push(took);
            }
        }
    }
    times.map(|mut times| {
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    })
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
    let echo = build(GuestName::Hostile).unwrap().bytes.clone();
    let scene = Arc::new(tokio.block_on(Scene::new(&echo)));
    // On a worker, as the daemon's tasks are, and not on the thread that blocks.
    let measuring = tokio.spawn(medians(rounds, scene));
    let [task, invocation] = tokio.block_on(measuring).unwrap();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("\n{rounds} rounds in turn, medians, us");
    println!("{:<34} {:>9.1}", "warm task, echo", micros(task));
    println!(
        "{:<34} {:>9.1} {:>7.2} of the task",
        "invocation, warm, echo",
        micros(invocation),
        invocation.as_secs_f64() / task.as_secs_f64()
    );
}
