//! The daemon on a real broker, with plain tasks: the contract that a Manager relies on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use proplet_daemon::{Daemon, Supervisor, mqtt::outbox::Outbox};
use proplet_executor::Host;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    broker::{BrokerSetup, Manager, PATIENCE, Task, TestBroker, TlsFiles, Visit},
    guests::{GuestName, build},
    ports::free_address,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixDatagram},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

const ENTITY: &str = "proplet-1";

/// A daemon that runs in this process until it is stopped.
struct Proplet {
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    outbox: Outbox,
}

impl Proplet {
    fn start(address: &str, more: &str) -> Self {
        Self::supervised(address, more, Supervisor::default())
    }

    fn supervised(address: &str, more: &str, supervisor: Supervisor) -> Self {
        let text = format!(
            "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"{ENTITY}\"\n\
             api_key = \"secret-of-the-broker\"\nheartbeat_seconds = 1\n\
             [mqtt]\naddress = \"{address}\"\n{more}"
        );
        let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
        let daemon = Daemon::new(Host::new(Arc::new(settings), None))
            .unwrap()
            .with_supervisor(supervisor);
        let outbox = daemon.outbox();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            daemon.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self {
            stop,
            running,
            outbox,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }
}

struct Scene {
    broker: TestBroker,
    manager: Manager,
    proplet: Proplet,
}

impl Scene {
    async fn set(more: &str) -> Self {
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let proplet = Proplet::start(&broker.url(), more);
        manager.messages("control/proplet/alive", 1).await.unwrap();
        Self {
            broker,
            manager,
            proplet,
        }
    }
}

fn adder() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

fn spinner() -> Vec<u8> {
    wat::parse_str("(module (func (export \"spin\") (loop $again (br $again))))").unwrap()
}

fn add(id: &str) -> Task {
    Task {
        inputs: vec!["10".into(), "20".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder())
    }
}

fn spin(id: &str) -> Task {
    Task {
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "spin", spinner())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_tasks_of_both_generations_give_upstreams_text() {
    let scene = Scene::set("").await;
    scene.manager.start(&add("new")).await.unwrap();
    let old = add("old").start_message_of_early_2026().to_string();
    scene
        .manager
        .send("control/manager/start", &old)
        .await
        .unwrap();
    for id in ["new", "old"] {
        let outcome = scene.manager.result(id).await.unwrap();
        assert_eq!(
            (outcome.results.as_str(), outcome.error),
            ("30", None),
            "{id}"
        );
        assert_eq!(outcome.proplet_id, ENTITY);
    }
    scene.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_announces_itself_before_it_beats_and_never_says_offline() {
    let scene = Scene::set("").await;
    let created = scene
        .manager
        .messages("control/proplet/create", 1)
        .await
        .unwrap();
    assert_eq!(created[0]["proplet_id"], ENTITY);
    assert_eq!(created[0]["namespace"], "default");
    assert_eq!(created[0]["metadata"]["wasm_runtime"], "wasmtime-internal");
    scene
        .manager
        .messages("control/proplet/alive", 2)
        .await
        .unwrap();
    let topics: Vec<String> = scene
        .broker
        .recorded()
        .into_iter()
        .filter(|record| record.client_id == ENTITY)
        .map(|record| record.topic)
        .collect();
    let first = |suffix: &str| {
        topics
            .iter()
            .position(|topic| topic.ends_with(suffix))
            .unwrap()
    };
    assert!(first("create") < first("alive"));
    scene.proplet.stop().await;
    let alive = scene.manager.on("control/proplet/alive");
    assert!(
        alive.iter().all(|beat| beat["status"] == "alive"),
        "{alive:?}"
    );
    let left = |visits: &Vec<Visit>| visits.contains(&Visit::Left(ENTITY.into()));
    scene
        .broker
        .wait_for_visits("DISCONNECT", left)
        .await
        .unwrap();
    assert!(!scene.broker.has_seen(b"secret-of-the-broker"));
}

/// What a service manager is told, until some words come.
async fn told(manager: &UnixDatagram, words: &str) -> String {
    let mut all = String::new();
    let mut buffer = [0; 1024];
    while !all.contains(words) {
        let size = timeout(PATIENCE, manager.recv(&mut buffer))
            .await
            .unwrap_or_else(|_| panic!("no {words:?} in {all:?}"))
            .unwrap();
        all.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_hears_when_tasks_can_arrive_and_that_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let service_manager = UnixDatagram::bind(&path).unwrap();
    let environment: Environment = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "1000000"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into_iter()
    .collect();
    // Nobody is there yet: it lives, and is not ready.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", nobody.local_addr().unwrap());
    let early = Proplet::supervised(&address, "", Supervisor::of(&environment));
    let before = told(&service_manager, "STATUS=No connection to mqtt://").await
        + &told(&service_manager, "WATCHDOG=1").await;
    early.stop().await;
    let end = told(&service_manager, "STATUS=Stopping").await;
    assert!(end.contains("STOPPING=1\n"), "{end}");
    assert!(!(before + &end).contains("READY"));

    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let proplet = Proplet::supervised(&broker.url(), "", Supervisor::of(&environment));
    told(&service_manager, "READY=1\nSTATUS=Takes tasks from mqtt://").await;
    // A task that spins holds up neither.
    manager.start(&spin("spins")).await.unwrap();
    told(&service_manager, "; 1 task runs or waits").await;
    told(&service_manager, "WATCHDOG=1").await;
    proplet.stop().await;
    let end = told(&service_manager, "STOPPING=1\nSTATUS=Stopping: ").await;
    assert!(!end.contains("READY"), "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_with_an_id_gets_an_answer() {
    let scene = Scene::set("").await;
    for (id, message, code) in [
        (
            "cut",
            r#"{"id":"cut","name":"n","inputs":["#.to_owned(),
            "task-invalid",
        ),
        (
            "nothing",
            json!({"id": "nothing", "name": "n"}).to_string(),
            "task-invalid",
        ),
        (
            "flags",
            json!({"id": "flags", "name": "n", "file": "AGFzbQ==", "cli_args": ["--dir=/"]})
                .to_string(),
            "task-arguments",
        ),
        (
            "both",
            json!({"id": "both", "name": "n", "file": "AGFzbQ==", "daemon": true, "latent": true})
                .to_string(),
            "task-invalid",
        ),
        (
            "daemon",
            json!({"id": "daemon", "name": "n", "file": "AGFzbQ==", "daemon": true}).to_string(),
            "component-invalid",
        ),
        (
            "latent",
            json!({"id": "latent", "name": "n", "file": "AGFzbQ==", "latent": true}).to_string(),
            "component-invalid",
        ),
        (
            "no-wasm",
            json!({"id": "no-wasm", "name": "n", "file": "AGFzbQ=="}).to_string(),
            "component-invalid",
        ),
        (
            "no-tee",
            json!({"id": "no-tee", "name": "n", "image_url": "ghcr.io/a/b", "encrypted": true})
                .to_string(),
            "no-tee",
        ),
    ] {
        scene
            .manager
            .send("control/manager/start", &message)
            .await
            .unwrap();
        let outcome = scene.manager.result(id).await.unwrap();
        let error = outcome.error.unwrap();
        assert!(error.starts_with(&format!("{code}: ")), "{id}: {error}");
        assert_eq!(outcome.results, "");
    }
    scene.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_other_proplets_and_other_topics_are_left_alone() {
    let scene = Scene::set("").await;
    let theirs = Task {
        proplet_id: "proplet-2".into(),
        ..add("theirs")
    };
    scene.manager.start(&theirs).await.unwrap();
    let elsewhere = add("elsewhere").start_message().to_string();
    scene
        .manager
        .send("control/manager/start/more", &elsewhere)
        .await
        .unwrap();
    let broadcast = json!({"id": "everybody", "name": "add", "inputs": ["1", "2"],
        "file": add("x").start_message()["file"], "broadcast": true, "proplet_id": "proplet-2"});
    scene
        .manager
        .send("control/manager/start", &broadcast.to_string())
        .await
        .unwrap();
    assert_eq!(
        scene.manager.result("everybody").await.unwrap().results,
        "3"
    );
    scene.proplet.stop().await;
    assert_eq!(scene.manager.results_so_far("theirs"), 0);
    assert_eq!(scene.manager.results_so_far("elsewhere"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_spinning_task_with_an_error() {
    let scene = Scene::set("").await;
    let task = spin("s");
    scene.manager.start(&task).await.unwrap();
    scene.manager.stop(&task).await.unwrap();
    let error = scene.manager.result("s").await.unwrap().error.unwrap();
    assert!(error.starts_with("stopped: "), "{error}");
    scene.proplet.stop().await;
}

/// Such a task is said to be served, with its port, and ends with its stop, and well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_answers_requests_is_served_until_it_is_stopped() {
    let address = free_address().unwrap();
    let scene = Scene::set(&format!("[http]\nlisten = \"{address}\"\n")).await;
    let built = tokio::task::spawn_blocking(|| build(GuestName::WebServer).unwrap());
    let task = Task {
        proplet_id: ENTITY.into(),
        ..Task::plain("h", "h", built.await.unwrap().bytes.clone())
    };
    scene.manager.start(&task).await.unwrap();
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let begun = scene.manager.result("h").await.unwrap();
    assert_eq!(begun.error, None);
    assert_eq!(begun.results, format!("started at port {}", address.port()));
    scene.manager.stop(&task).await.unwrap();
    let topic = "control/proplet/results";
    let said = scene.manager.messages(topic, 2).await.unwrap();
    assert_eq!(said[0], said[1]);
    TcpStream::connect(address).await.unwrap_err();
    scene.proplet.stop().await;
}

/// It waits for clients for as long as it likes, and others must not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_is_served_holds_no_place_of_a_task() {
    let address = free_address().unwrap();
    let settings =
        format!("[limits]\ntasks = 1\n[daemon_tasks]\ntasks = 1\n[http]\nlisten = \"{address}\"\n");
    let scene = Scene::set(&settings).await;
    let manager = &scene.manager;
    let built = tokio::task::spawn_blocking(|| build(GuestName::WebServer).unwrap());
    let served = Task {
        proplet_id: ENTITY.into(),
        ..Task::plain("h", "h", built.await.unwrap().bytes.clone())
    };
    manager.start(&served).await.unwrap();
    while TcpStream::connect(address).await.is_err() {
        tokio::task::yield_now().await;
    }
    manager.start(&add("beside")).await.unwrap();
    assert_eq!(manager.result("beside").await.unwrap().results, "30");
    // The place that it has is one of a daemon, and there is no other.
    let daemon = Task {
        daemon: true,
        ..spin("d")
    };
    manager.start(&daemon).await.unwrap();
    let error = manager.result("d").await.unwrap().error.unwrap();
    assert!(error.starts_with("daemon-tasks-full: "), "{error}");
    manager.stop(&served).await.unwrap();
    assert_eq!(manager.result("h").await.unwrap().error, None);
    scene.proplet.stop().await;
}

/// Without a place of a daemon it is served in its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_is_served_where_there_are_no_daemons() {
    let address = free_address().unwrap();
    let settings = format!("[daemon_tasks]\ntasks = 0\n[http]\nlisten = \"{address}\"\n");
    let scene = Scene::set(&settings).await;
    let built = tokio::task::spawn_blocking(|| build(GuestName::WebServer).unwrap());
    let served = Task {
        proplet_id: ENTITY.into(),
        ..Task::plain("h", "h", built.await.unwrap().bytes.clone())
    };
    scene.manager.start(&served).await.unwrap();
    while TcpStream::connect(address).await.is_err() {
        tokio::task::yield_now().await;
    }
    scene.manager.stop(&served).await.unwrap();
    let outcome = scene.manager.result("h").await.unwrap();
    assert_eq!(outcome.error, None);
    scene.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_start_of_a_running_task_is_ignored() {
    let scene = Scene::set("").await;
    let task = spin("s");
    scene.manager.start(&task).await.unwrap();
    scene.manager.start(&task).await.unwrap();
    let broken = r#"{"id":"s","name":"#;
    scene
        .manager
        .send("control/manager/start", broken)
        .await
        .unwrap();
    scene.manager.stop(&task).await.unwrap();
    let error = scene.manager.result("s").await.unwrap().error.unwrap();
    assert!(error.starts_with("stopped: "), "{error}");
    scene.manager.start(&add("after")).await.unwrap();
    scene.manager.result("after").await.unwrap();
    scene.proplet.stop().await;
    assert_eq!(scene.manager.results_so_far("s"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_retained_is_not_obeyed_again() {
    // One task at a time, so that the result of a later task comes after that of an earlier one.
    let one = "[limits]\ntasks = 1\n";
    let scene = Scene::set(one).await;
    let start = add("kept").start_message().to_string();
    let topic = "control/manager/start";
    // The copy for those who are there is a start like any other.
    scene.manager.send_retained(topic, &start).await.unwrap();
    scene.manager.result("kept").await.unwrap();
    let stop = serde_json::json!({"id": "later", "proplet_id": ENTITY}).to_string();
    let stops = "control/manager/stop";
    scene.manager.send_retained(stops, &stop).await.unwrap();
    scene.proplet.stop().await;

    // A beat may still be on its way, and is no sign of the next one.
    let times = scene.manager.on("control/proplet/create").len();
    let again = Proplet::start(&scene.broker.url(), one);
    let created = scene.manager.messages("control/proplet/create", times + 1);
    created.await.unwrap();
    scene.manager.start(&add("later")).await.unwrap();
    let outcome = scene.manager.result("later").await.unwrap();
    assert_eq!((outcome.results.as_str(), outcome.error), ("30", None));
    assert_eq!(scene.manager.results_so_far("kept"), 1);
    // The Manager starts a task again under its id, and means it.
    scene.manager.start(&add("kept")).await.unwrap();
    scene.manager.start(&add("last")).await.unwrap();
    scene.manager.result("last").await.unwrap();
    // Results are sent when each is kept, so the one may overtake the other.
    let results = scene.manager.messages("control/proplet/results", 4);
    results.await.unwrap();
    assert_eq!(scene.manager.results_so_far("kept"), 2);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_messages_that_take_too_much_memory_are_refused() {
    const LIMITS: &str = "[limits]\ntasks = 1\nqueue = 64\nqueue_bytes = 30000\n";
    let sized = |task: Task, bytes: usize| Task {
        env: [("LARGE".to_owned(), "x".repeat(bytes))].into(),
        ..task
    };
    let scene = Scene::set(LIMITS).await;
    for id in ["one", "two", "three"] {
        let task = sized(spin(id), 10_000);
        scene.manager.start(&task).await.unwrap();
    }
    let error = scene.manager.result("three").await.unwrap().error.unwrap();
    assert!(error.starts_with("queue-full: "), "{error}");
    assert!(error.contains("queue_bytes"), "{error}");
    for id in ["two", "one"] {
        scene.manager.stop(&spin(id)).await.unwrap();
        let error = scene.manager.result(id).await.unwrap().error.unwrap();
        assert!(error.starts_with("stopped: "), "{error}");
    }
    // What has ended takes nothing any more. A result is there a moment before its task is forgotten.
    for attempt in 0.. {
        let id = format!("later-{attempt}");
        scene.manager.start(&sized(add(&id), 20_000)).await.unwrap();
        let outcome = scene.manager.result(&id).await.unwrap();
        match outcome.error {
            None => break,
            Some(error) => assert!(error.starts_with("queue-full: "), "{error}"),
        }
        assert!(attempt < 1000);
    }
    scene.proplet.stop().await;

    // One that is larger than all together may be runs alone, and none beside it.
    let scene = Scene::set(LIMITS).await;
    let huge = sized(spin("huge"), 100_000);
    scene.manager.start(&huge).await.unwrap();
    scene.manager.start(&spin("beside")).await.unwrap();
    let error = scene.manager.result("beside").await.unwrap();
    let error = error.error.unwrap();
    assert!(error.starts_with("queue-full: "), "{error}");
    scene.manager.stop(&huge).await.unwrap();
    let error = scene.manager.result("huge").await.unwrap().error.unwrap();
    assert!(error.starts_with("stopped: "), "{error}");
    scene.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    let scene = Scene::set("[limits]\ntasks = 1\nqueue = 1\n").await;
    for id in ["runs", "waits", "refused"] {
        scene.manager.start(&spin(id)).await.unwrap();
    }
    let error = scene
        .manager
        .result("refused")
        .await
        .unwrap()
        .error
        .unwrap();
    assert!(error.starts_with("queue-full: "), "{error}");
    for id in ["waits", "runs"] {
        scene.manager.stop(&spin(id)).await.unwrap();
        let error = scene.manager.result(id).await.unwrap().error.unwrap();
        assert!(error.starts_with("stopped: "), "{error}");
    }
    scene.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_not_published_at_once() {
    let scene = Scene::set("").await;
    let before = Instant::now();
    scene.manager.start(&add("a")).await.unwrap();
    scene.manager.result("a").await.unwrap();
    assert!(
        before.elapsed() >= Duration::from_millis(50),
        "{:?}",
        before.elapsed()
    );
    scene.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_running_tasks_with_an_error() {
    let scene = Scene::set("").await;
    scene.manager.start(&spin("s")).await.unwrap();
    // The answer to this one shows that the start before it has arrived.
    scene.manager.start(&add("a")).await.unwrap();
    scene.manager.result("a").await.unwrap();
    scene.proplet.stop().await;
    let error = scene.manager.result("s").await.unwrap().error.unwrap();
    assert!(error.starts_with("proplet-stopping: "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_broker_restart_it_subscribes_announces_and_works_again() {
    let scene = Scene::set("").await;
    let port = scene.broker.port();
    scene.broker.stop().await;
    let broker = TestBroker::with(BrokerSetup {
        port,
        ..BrokerSetup::default()
    })
    .await
    .unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    manager.messages("control/proplet/create", 1).await.unwrap();
    manager.messages("control/proplet/alive", 1).await.unwrap();
    manager.start(&add("a")).await.unwrap();
    assert_eq!(manager.result("a").await.unwrap().results, "30");
    scene.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_ready_while_the_broker_is_away_is_delivered_later() {
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    // The broker is gone by the time it is over.
    let limits = "[limits]\nwall_clock_ms = 8000\n";
    let proplet = Proplet::start(&broker.url(), limits);
    manager.messages("control/proplet/alive", 1).await.unwrap();
    manager.start(&spin("s")).await.unwrap();
    manager.start(&add("a")).await.unwrap();
    manager.result("a").await.unwrap();
    let port = broker.port();
    broker.stop().await;
    let mut changes = proplet.outbox.changes();
    let arrived = changes.wait_for(|_| proplet.outbox.is_waiting("s"));
    drop(timeout(PATIENCE, arrived).await.unwrap().unwrap());
    let broker = TestBroker::with(BrokerSetup {
        port,
        ..BrokerSetup::default()
    })
    .await
    .unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let error = manager.result("s").await.unwrap().error.unwrap();
    assert!(error.starts_with("limit-wall-clock: "), "{error}");
    proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_the_broker_would_not_take_becomes_an_error() {
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let proplet = Proplet::start(&broker.url(), "max_result_bytes = 5000\n");
    manager.messages("control/proplet/alive", 1).await.unwrap();
    // Upstream's contract for a command: its standard output.
    let loud = wat::parse_str(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_start")
            (memory.fill (i32.const 16) (i32.const 120) (i32.const 8000))
            (i32.store (i32.const 0) (i32.const 16))
            (i32.store (i32.const 4) (i32.const 8000))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    )
    .unwrap();
    let task = Task {
        proplet_id: ENTITY.into(),
        ..Task::plain("loud", "_start", loud)
    };
    manager.start(&task).await.unwrap();
    let outcome = manager.result("loud").await.unwrap();
    let error = outcome.error.unwrap();
    assert!(error.starts_with("result-too-large: "), "{error}");
    assert_eq!(outcome.results, "");
    proplet.stop().await;
}

/// A CA and certificates for the broker and for a proplet, as PEM files.
fn certificates(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    write("ca.pem", parameters.self_signed(&key).unwrap().pem());
    let issuer = rcgen::Issuer::new(parameters, key);
    for name in ["broker", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        write(
            &format!("{name}.pem"),
            parameters.signed_by(&key, &issuer).unwrap().pem(),
        );
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// As `openssl req -x509 -addext subjectAltName=DNS:localhost` makes it, and as people use it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_self_signed_certificate_that_is_marked_as_a_cas() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    std::fs::write(file("broker.pem"), certificate.pem()).unwrap();
    std::fs::write(file("broker.key"), key.serialize_pem()).unwrap();
    let tls = TlsFiles {
        certificate: file("broker.pem"),
        key: file("broker.key"),
        client_ca: None,
    };
    let setup = BrokerSetup {
        tls: Some(tls),
        ..BrokerSetup::default()
    };
    let broker = TestBroker::with(setup).await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let more = format!("ca = {:?}\n", file("broker.pem"));
    let proplet = Proplet::start(&broker.tls_url().unwrap(), &more);
    manager.messages("control/proplet/alive", 1).await.unwrap();
    proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let tls = TlsFiles {
        certificate: file("broker.pem"),
        key: file("broker.key"),
        client_ca: Some(file("ca.pem")),
    };
    let setup = BrokerSetup {
        tls: Some(tls),
        ..BrokerSetup::default()
    };
    let broker = TestBroker::with(setup).await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let more = format!(
        "ca = {:?}\nclient_cert = {:?}\nclient_key = {:?}\n",
        file("ca.pem"),
        file("client.pem"),
        file("client.key")
    );
    let proplet = Proplet::start(&broker.tls_url().unwrap(), &more);
    manager.messages("control/proplet/alive", 1).await.unwrap();
    manager.start(&add("a")).await.unwrap();
    assert_eq!(manager.result("a").await.unwrap().results, "30");
    proplet.stop().await;
}
