//! What each task uses while it runs.

use std::sync::Arc;

use proplet_hal::TeeProvider;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{PROPLET, RunningProplet, Services, workload::with_recipients};
use proplet_testkit::{
    broker::{Manager, Task},
    tee::FakeSnp,
};
use serde_json::{Value, json};

const TOPIC: &str = "control/proplet/task_metrics";

/// 64 pages of memory, and a loop that never ends.
fn spinner() -> Vec<u8> {
    wat::parse_str(
        "(module (memory (export \"memory\") 16)
           (func (export \"spin\")
             (drop (memory.grow (i32.const 48)))
             (loop $again (br $again))))",
    )
    .unwrap()
}

/// One page of memory, and five minutes of waiting.
fn waiter() -> Vec<u8> {
    wat::parse_str(
        "(module
           (import \"wasi_snapshot_preview1\" \"poll_oneoff\"
             (func $poll (param i32 i32 i32 i32) (result i32)))
           (memory (export \"memory\") 1)
           (func (export \"wait\")
             (i32.store (i32.const 16) (i32.const 1))
             (i64.store (i32.const 24) (i64.const 200000000000))
             (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))",
    )
    .unwrap()
}

fn adder() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

struct Scene {
    services: Services,
    proplet: RunningProplet,
}

impl Scene {
    async fn set(provider: Option<Arc<dyn TeeProvider>>, more: &str) -> Self {
        let services = Services::start().await.unwrap();
        let proplet = RunningProplet::start(&services.settings(more), provider).unwrap();
        let manager = &services.manager;
        manager.messages("control/proplet/alive", 1).await.unwrap();
        Self { services, proplet }
    }

    fn manager(&self) -> &Manager {
        &self.services.manager
    }

    /// Waits for so many messages about a task.
    async fn told(&self, id: &str, count: usize) -> Vec<Value> {
        let mut all = 1;
        loop {
            let messages = self.manager().messages(TOPIC, all).await.unwrap();
            all = messages.len() + 1;
            let of_task = messages.into_iter().filter(|m| m["task_id"] == id);
            let of_task: Vec<_> = of_task.collect();
            if of_task.len() >= count {
                return of_task;
            }
        }
    }

    fn told_so_far(&self, id: &str) -> usize {
        let messages = self.manager().on(TOPIC);
        messages.iter().filter(|m| m["task_id"] == id).count()
    }

    /// Stops a task, and gives what it ended with.
    async fn stop(&self, task: &Task) -> proplet_testkit::broker::Outcome {
        self.manager().stop(task).await.unwrap();
        self.manager().result(&task.id).await.unwrap()
    }
}

fn watched(task: Task, profile: Value) -> Task {
    Task {
        monitoring_profile: Some(profile),
        proplet_id: PROPLET.into(),
        ..task
    }
}

/// So many pages of WebAssembly, and what the environment of a task takes.
fn is_pages(bytes: u64, pages: u64) -> bool {
    (pages << 16..(pages << 16) + 4096).contains(&bytes)
}

/// All that the Manager writes.
fn every(interval: u64) -> Value {
    json!({
        "enabled": true, "interval": interval, "collect_cpu": true, "collect_memory": true,
        "collect_disk_io": true, "collect_threads": true, "collect_file_descriptors": true,
        "export_to_mqtt": true, "retain_history": true, "history_size": 100,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_is_told_about_alone_whatever_the_unit_of_its_interval() {
    let scene = Scene::set(None, "").await;
    let busy = watched(Task::plain("busy", "spin", spinner()), every(1_000_000_000));
    let idle = watched(Task::plain("idle", "wait", waiter()), every(1));
    scene.manager().start(&busy).await.unwrap();
    scene.manager().start(&idle).await.unwrap();
    let of_busy = scene.told("busy", 2).await;
    let of_idle = scene.told("idle", 2).await;
    for (index, message) in of_busy.iter().chain(&of_idle).enumerate() {
        assert_eq!(message["proplet_id"], PROPLET);
        assert!(
            message["timestamp"].as_str().unwrap().ends_with('Z'),
            "{message}"
        );
        let metrics = &message["metrics"];
        assert!(
            metrics["uptime_seconds"].as_u64().unwrap() >= 1,
            "{message}"
        );
        assert!(
            metrics["memory_percent"].as_f64().unwrap() > 0.0,
            "{message}"
        );
        for name in [
            "disk_read_bytes",
            "disk_write_bytes",
            "thread_count",
            "file_descriptor_count",
        ] {
            assert_eq!(metrics[name], 0, "{message}");
        }
        let samples = message["aggregated"]["sample_count"].as_u64().unwrap();
        assert!(samples >= 1 && samples <= index as u64 + 1, "{message}");
    }
    let cpu = |message: &Value| message["metrics"]["cpu_percent"].as_f64().unwrap();
    let memory = |message: &Value| message["metrics"]["memory_bytes"].as_u64().unwrap();
    // The one that spins has used a processor, as far as others left it one, and the one that waits has not.
    assert!(
        of_busy.iter().all(|message| cpu(message) > 2.0),
        "{of_busy:?}"
    );
    // What it took to begin is in the first.
    assert!(of_idle.len() > 1, "{of_idle:?}");
    assert!(
        of_idle.iter().skip(1).all(|message| cpu(message) < 2.0),
        "{of_idle:?}"
    );
    assert!(
        of_busy.iter().all(|message| is_pages(memory(message), 64)),
        "{of_busy:?}"
    );
    assert!(
        of_idle.iter().all(|message| is_pages(memory(message), 1)),
        "{of_idle:?}"
    );
    scene.stop(&busy).await;
    scene.stop(&idle).await;
    scene.proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_task_is_told_about_only_where_its_policy_allows_it() {
    let scene = Scene::set(Some(Arc::new(FakeSnp::new())), "[limits]\ntasks = 3\n").await;
    let reader = PrivateKey::generate_p256().unwrap();
    let component = spinner();
    let mut tasks = Vec::new();
    for (id, line) in [
        ("silent", ""),
        ("refused", "metrics = false\n"),
        ("open", "metrics = true\n"),
    ] {
        let policy = format!("version = 1\nexports = [\"spin\"]\n{line}");
        let policy = with_recipients(&policy, &[reader.public().clone()]);
        let name = format!("team/{id}");
        let key = format!("kbs:///default/key/{id}").parse().unwrap();
        let published = scene
            .services
            .publish(&name, &component, Some(&policy), key);
        let (_, image) = published.await.unwrap();
        let task = watched(Task::encrypted(id, "spin", &image.to_string()), every(1));
        scene.manager().start(&task).await.unwrap();
        tasks.push(task);
    }
    // The other two were started before it.
    let told = scene.told("open", 3).await;
    assert!(
        is_pages(told[0]["metrics"]["memory_bytes"].as_u64().unwrap(), 64),
        "{told:?}"
    );
    for task in &tasks {
        let outcome = scene.stop(task).await;
        let error = outcome.error.unwrap();
        assert!(error.starts_with("stopped: "), "{}: {error}", task.id);
        // It ran: whoever is only prepared has no sealed result.
        assert!(outcome.results.starts_with('{'), "{}", outcome.results);
    }
    assert_eq!(
        scene.told_so_far("silent") + scene.told_so_far("refused"),
        0
    );
    scene.proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_in_a_plain_component_allows_nothing_and_forbids_nothing() {
    let scene = Scene::set(None, "").await;
    let forbidden =
        proplet_component::Policy::embed(&spinner(), b"version = 1\nmetrics = false\n").unwrap();
    let task = watched(Task::plain("plain", "spin", forbidden), every(1));
    scene.manager().start(&task).await.unwrap();
    scene.told("plain", 1).await;
    scene.stop(&task).await;
    scene.proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_is_told_about_for_as_long_as_it_runs() {
    let scene = Scene::set(None, "").await;
    let daemon = Task {
        daemon: true,
        ..watched(Task::plain("daemon", "spin", spinner()), every(1))
    };
    scene.manager().start(&daemon).await.unwrap();
    // It is answered when it begins, and is told about after that.
    scene.manager().result("daemon").await.unwrap();
    let told = scene.told("daemon", 3).await;
    let memory = |message: &Value| message["metrics"]["memory_bytes"].as_u64().unwrap();
    assert!(
        told.iter().all(|message| is_pages(memory(message), 64)),
        "{told:?}"
    );
    scene.manager().stop(&daemon).await.unwrap();
    while scene.manager().results_so_far("daemon") < 2 {
        tokio::task::yield_now().await;
    }
    scene.proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_interval_is_below_the_floor_and_who_wants_nothing_gets_nothing() {
    let more = "[limits]\ntasks = 4\n[metrics]\ntask_floor_seconds = 3\n";
    let scene = Scene::set(None, more).await;
    let mut unsent = every(1);
    unsent["export_to_mqtt"] = json!(false);
    let mut disabled = every(1);
    disabled["enabled"] = json!(false);
    let tasks = [
        watched(Task::plain("unsent", "wait", waiter()), unsent),
        watched(Task::plain("disabled", "wait", waiter()), disabled),
        // A nanosecond, and nothing.
        watched(Task::plain("hasty", "wait", waiter()), every(0)),
        watched(Task::plain("hastier", "wait", waiter()), every(1_000_000)),
    ];
    for task in &tasks {
        scene.manager().start(task).await.unwrap();
    }
    for id in ["hasty", "hastier"] {
        let told = scene.told(id, 2).await;
        let uptime = |index: usize| told[index]["metrics"]["uptime_seconds"].as_u64().unwrap();
        // The first may be late, and the second is due when it would have been.
        assert!(uptime(0) >= 3 && uptime(1) >= 6, "{told:?}");
    }
    assert_eq!(
        scene.told_so_far("unsent") + scene.told_so_far("disabled"),
        0
    );
    for task in &tasks {
        scene.stop(task).await;
    }
    scene.proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tasks_off_nobody_is_told_anything() {
    let more = "[metrics]\ntasks = false\ninterval_seconds = 1\n";
    let scene = Scene::set(None, more).await;
    let task = watched(Task::plain("a", "wait", waiter()), every(1));
    scene.manager().start(&task).await.unwrap();
    // Three of the process are two seconds more than one of the task would take.
    let so_far = scene.manager().on("control/proplet/metrics").len();
    let process = scene
        .manager()
        .messages("control/proplet/metrics", so_far + 3);
    process.await.unwrap();
    scene.stop(&task).await;
    assert!(scene.manager().on(TOPIC).is_empty());
    scene.proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_tasks_cause_no_message_however_many_they_are() {
    let scene = Scene::set(None, "[limits]\nqueue = 1000\n").await;
    let add = |number: usize| {
        let task = Task::plain(&format!("short-{number}"), "add", adder());
        let task = Task {
            inputs: vec!["1".into(), number.to_string()],
            ..task
        };
        // Longer than one of them waits for a processor on a busy machine.
        watched(task, every(10))
    };
    for number in 0..300 {
        scene.manager().start(&add(number)).await.unwrap();
    }
    for number in 0..300 {
        let outcome = scene
            .manager()
            .result(&format!("short-{number}"))
            .await
            .unwrap();
        assert_eq!(outcome.results, (number + 1).to_string());
    }
    assert_eq!(scene.manager().on(TOPIC), Vec::<Value>::new());
    scene.proplet.stop().await.unwrap();
}
