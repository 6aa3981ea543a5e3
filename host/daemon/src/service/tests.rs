mod ends;
mod prepared;
mod recovered;

use std::time::Duration;

use bytes::Bytes;
use proplet_executor::{Executor, Host};
use proplet_outbox::Journal;
use proplet_settings::environment::Environment;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::{
    gate::Gate,
    metrics::Watched,
    mqtt::{Link, outbox::Bounds},
};

const ENTITY: &str = "proplet-1";
const LONG: Duration = Duration::from_secs(60);

struct Scene {
    service: Service,
    outbox: Outbox,
    _link: (Link, crate::mqtt::Driver),
}

impl Scene {
    fn new(limits: &str, bounds: Bounds) -> Self {
        let text = format!(
            "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"{ENTITY}\"\napi_key = \"k\"\n\
             results_not_before_ms = 0\n[limits]\n{limits}"
        );
        let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
        let settings = Arc::new(settings);
        let identity = settings.identity().unwrap();
        let clock = Arc::new(proplet_types::SystemClock);
        let (audit, _) = crate::record::open(&settings, clock).unwrap();
        let mut host = Host::new(Arc::clone(&settings), None);
        host.audit = Some(audit);
        let executor = Executor::new(host).unwrap();
        let (link, driver) = Link::new(&settings.mqtt, &identity, &executor).unwrap();
        let journal = Journal::in_memory();
        let outbox = Outbox::new(journal.clone(), bounds);
        // Nobody empties it but the test.
        drop(outbox.settlements());
        let repeats = Repeats::default();
        let record = Record::new(&executor, &settings);
        let tasks = Tasks::new(
            &settings,
            tasks::Parts {
                entity: ENTITY.to_owned(),
                executor,
                journal,
                outbox: outbox.clone(),
                repeats: repeats.clone(),
                gate: Gate::of(&settings).unwrap(),
                record: record.clone(),
                watched: Watched::nothing(),
            },
        );
        let service = Service {
            topics: Topics::new("t", "c"),
            entity: ENTITY.to_owned(),
            tasks,
            images: None,
            outbox: outbox.clone(),
            repeats,
            invocations: Repeats::default(),
            record,
            acknowledgements: Acknowledgements::new(link.clone()).0,
            recovered: mpsc::unbounded_channel().1,
            probes: mpsc::channel(1).1,
            settings,
            waiting_room: WaitingRoom::default(),
            sparing: Sparing::default(),
        };
        Self {
            service,
            outbox,
            _link: (link, driver),
        }
    }

    async fn receive(&mut self, message: Received) -> Option<oneshot::Receiver<()>> {
        self.service.obey(&message, false).await
    }

    /// The next answer, which the broker takes.
    async fn answer(&self) -> Value {
        let mut changes = self.outbox.changes();
        timeout(LONG, async {
            loop {
                if let Some(item) = self.outbox.take(Instant::now() + LONG) {
                    self.outbox.delivered(item.id);
                    return serde_json::from_slice(&item.payload).unwrap();
                }
                changes.changed().await.unwrap();
            }
        })
        .await
        .expect("no answer")
    }
}

fn bounds(entries: usize) -> Bounds {
    Bounds {
        entries,
        bytes: 1 << 20,
    }
}

fn message(suffix: &str, body: &Value) -> Received {
    Received {
        topic: format!("m/t/c/c/control/manager/{suffix}"),
        payload: Bytes::from(body.to_string()),
        retained: false,
        duplicate: false,
        receipt: Some(crate::mqtt::Receipt::of(7)),
        at: Instant::now(),
    }
}

fn start(id: &str, name: &str, wat: &str) -> Received {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let file = STANDARD.encode(wat::parse_str(wat).unwrap());
    let body = json!({"id": id, "name": name, "file": file, "proplet_id": ENTITY, "inputs": []});
    message("start", &body)
}

fn spin(id: &str) -> Received {
    start(
        id,
        "spin",
        "(module (func (export \"spin\") (loop $again (br $again))))",
    )
}

fn seven(id: &str) -> Received {
    start(
        id,
        "seven",
        "(module (func (export \"seven\") (result i32) i32.const 7))",
    )
}

/// A start that is refused at once.
fn bad(id: &str) -> Received {
    message(
        "start",
        &json!({"id": id, "name": "a", "proplet_id": ENTITY}),
    )
}

fn code(answer: &Value) -> &str {
    let error = answer["error"].as_str().unwrap_or_default();
    error.split(':').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_is_not_acknowledged_before_its_refusal_has_room() {
    let mut scene = Scene::new("", bounds(4));
    let mut ready = Vec::new();
    for number in 0..50 {
        let accepted = scene.receive(bad(&number.to_string())).await;
        ready.push(accepted.expect("a refusal was lost"));
    }
    // A later start of an id whose refusal waits does not overtake it.
    assert!(scene.receive(seven("49")).await.is_none());
    let mut answered = Vec::new();
    for number in 0..50 {
        // At most two are in the outbox; the rest is the broker's.
        let is_early = |ready: &mut oneshot::Receiver<()>| {
            !matches!(ready.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        };
        let early = ready.iter_mut().map(is_early);
        assert!(early.filter(|early| *early).count() <= number + 2);
        let answer = scene.answer().await;
        assert_eq!(code(&answer), "task-invalid");
        answered.push(answer["task_id"].as_str().unwrap().to_owned());
    }
    answered.sort_by_key(|id| id.parse::<usize>().unwrap());
    let all: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(answered, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_acknowledgement_does_not_wait_for_room() {
    let mut scene = Scene::new("", bounds(1));
    for id in ["a", "b"] {
        let mut message = bad(id);
        message.receipt = None;
        let taken = scene.receive(message).await.is_some();
        assert_eq!(taken, id == "a");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_start_that_found_the_queue_full_is_answered() {
    let mut scene = Scene::new("tasks = 1\nqueue = 0\n", bounds(100));
    scene.receive(spin("spins")).await.unwrap().await.unwrap();
    let copy = || Received {
        duplicate: true,
        ..seven("b")
    };
    scene.receive(seven("b")).await.unwrap();
    assert_eq!(code(&scene.answer().await), "queue-full");
    // Still full: refused again.
    scene.receive(copy()).await.unwrap();
    assert_eq!(code(&scene.answer().await), "queue-full");
    let stop = message("stop", &json!({"id": "spins", "proplet_id": ENTITY}));
    assert!(scene.receive(stop).await.is_none());
    assert_eq!(code(&scene.answer().await), "stopped");
    // Not full any more: it runs. And then it was run, and a further copy is none of its own.
    scene.receive(copy()).await.unwrap().await.unwrap();
    assert_eq!(scene.answer().await["results"], "7");
    assert!(scene.receive(copy()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_shutdown_do_not_wait_for_a_full_queue() {
    let mut scene = Scene::new("tasks = 1\nqueue = 8\n", bounds(100));
    for number in 0..4 {
        scene.receive(spin(&number.to_string())).await.unwrap();
    }
    let stop = message("stop", &json!({"id": "3", "proplet_id": ENTITY}));
    scene.receive(stop).await;
    let answer = scene.answer().await;
    assert_eq!(
        (answer["task_id"].as_str(), code(&answer)),
        (Some("3"), "stopped")
    );
    scene.service.tasks.stop_all();
    for _ in 0..3 {
        assert_eq!(code(&scene.answer().await), "proplet-stopping");
    }
}

/// An invocation, which waits for a result that no earlier answer can be mistaken for.
fn invoke(task: &str, invocation: &str) -> Received {
    message(
        "invoke",
        &json!({"id": task, "invocation_id": invocation, "proplet_id": ENTITY, "inputs": null}),
    )
}

/// Starts a latent task, and waits until it is prepared.
async fn prepare(scene: &mut Scene, start: Received) {
    let mut body: Value = serde_json::from_slice(&start.payload).unwrap();
    body["latent"] = true.into();
    let start = Received {
        payload: Bytes::from(body.to_string()),
        ..start
    };
    scene.receive(start).await.unwrap().await.unwrap();
    scene.service.tasks.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_an_invocation_is_none_of_its_own() {
    let mut scene = Scene::new("", bounds(100));
    let copy = || Received {
        duplicate: true,
        ..invoke("a", "1")
    };
    assert!(scene.receive(invoke("a", "1")).await.is_some());
    assert_eq!(code(&scene.answer().await), "not-precompiled");
    // It was refused, so a copy of it is looked at again.
    prepare(&mut scene, seven("a")).await;
    assert!(scene.receive(copy()).await.is_none());
    let answer = scene.answer().await;
    assert_eq!(
        (&answer["results"], &answer["invocation_id"]),
        (&json!("7"), &json!("1"))
    );
    assert!(scene.receive(copy()).await.is_none());
    assert!(scene.outbox.is_empty() && scene.service.tasks.count() == 0);
    // Starts are remembered however many invocations there are.
    for number in 0..2000 {
        scene.service.invocations.remember(&number.to_string());
    }
    let again = Received {
        duplicate: true,
        ..seven("a")
    };
    assert!(scene.receive(again).await.is_none());
    assert_eq!(scene.service.tasks.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invocation_is_not_acknowledged_before_its_refusal_has_room() {
    let mut scene = Scene::new("", bounds(2));
    let mut ready = Vec::new();
    for number in 0..20 {
        let taken = scene.receive(invoke("none", &number.to_string())).await;
        ready.push(taken.expect("a refusal was lost"));
    }
    for _ in 0..20 {
        let answer = scene.answer().await;
        assert_eq!(code(&answer), "not-precompiled");
        assert_eq!(answer["task_id"], "none");
    }
    for ready in ready {
        // The sender is dropped: it may be acknowledged.
        ready.await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_refuses_invocations_and_forgets_what_was_prepared() {
    let mut scene = Scene::new("", bounds(100));
    prepare(&mut scene, spin("a")).await;
    scene.receive(invoke("a", "1")).await;
    scene.service.tasks.stop_all();
    assert_eq!(code(&scene.answer().await), "proplet-stopping");
    let late = scene.service.obey(&invoke("a", "2"), true).await;
    assert!(late.is_some());
    assert_eq!(code(&scene.answer().await), "proplet-stopping");
    scene.receive(invoke("a", "3")).await;
    assert_eq!(code(&scene.answer().await), "not-precompiled");
}

/// Waits until so many tasks wait for a place.
async fn waiting(scene: &Scene, count: usize) {
    while scene.service.tasks.waiting() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_makes_room_for_an_invocation_that_is_refused() {
    let mut scene = Scene::new("tasks = 1\nqueue = 4\n", bounds(100));
    prepare(&mut scene, seven("a")).await;
    scene.receive(spin("spins")).await.unwrap();
    waiting(&scene, 0).await;
    // Of images that were never opened, which are no plain tasks.
    for number in 0..4 {
        let start = json!({
            "id": number.to_string(),
            "name": "run",
            "image_url": "registry.example/a:1",
            "encrypted": true,
            "proplet_id": ENTITY,
        });
        scene.receive(message("start", &start)).await.unwrap();
    }
    let mut bad: Value = serde_json::from_slice(&invoke("a", "1").payload).unwrap();
    bad["env"] = json!({"a=b": ""});
    scene.receive(message("invoke", &bad)).await.unwrap();
    assert_eq!(scene.service.tasks.waiting(), 4);
    assert_eq!(code(&scene.answer().await), "task-invalid");
    // For one that is taken, the last of them does.
    assert!(scene.receive(invoke("a", "2")).await.is_none());
    let answer = scene.answer().await;
    assert_eq!(
        (answer["task_id"].as_str(), code(&answer)),
        (Some("3"), "queue-full")
    );
    scene.service.tasks.stop_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_daemon_was_started_with_counts_for_as_long_as_it_serves() {
    let mut scene = Scene::new("queue_bytes = 2500\n", bounds(100));
    let with = |start: Received, daemon: bool, bytes: usize| {
        let mut body: Value = serde_json::from_slice(&start.payload).unwrap();
        body["daemon"] = daemon.into();
        body["env"] = json!({"A": "x".repeat(bytes)});
        message("start", &body)
    };
    let serve = with(spin("serves"), true, 1000);
    scene.receive(serve).await.unwrap().await.unwrap();
    assert_eq!(scene.answer().await["error"], Value::Null);
    scene.receive(spin("spins")).await.unwrap().await.unwrap();
    let more = || with(seven("seven"), false, 1600);
    scene.receive(more()).await.unwrap();
    assert_eq!(code(&scene.answer().await), "queue-full");
    let stop = message("stop", &json!({"id": "serves", "proplet_id": ENTITY}));
    scene.receive(stop).await;
    assert_eq!(code(&scene.answer().await), "stopped");
    scene.receive(more()).await.unwrap();
    assert_eq!(scene.answer().await["results"], "7");
    scene.service.tasks.stop_all();
}

/// Entries of these kinds: the kind, the task and the code of each.
fn on_record(folder: &std::path::Path, kinds: &[&str]) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(folder.join("audit-00000001.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .map(|line: Value| {
            let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (word("kind"), word("task"), word("code"))
        })
        .filter(|(kind, ..)| kinds.contains(&kind.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invocation_that_is_refused_is_on_record() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("audit");
    let mut scene = Scene::new(&format!("[audit]\npath = {folder:?}\n"), bounds(100));
    scene.receive(invoke("none", "1")).await.unwrap();
    assert_eq!(code(&scene.answer().await), "not-precompiled");
    scene.service.record.stopped().await;
    let expected = ["task-refused", "none", "not-precompiled"].map(str::to_owned);
    assert_eq!(on_record(&folder, &["task-refused"]), [expected.into()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_tasks_that_are_refused_before_anything_was_done_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("audit");
    let settings = format!("[daemon_tasks]\ntasks = 0\n[audit]\npath = {folder:?}\n");
    let mut scene = Scene::new(&settings, bounds(100));
    let start = |number: u64| {
        let mut start: Value = serde_json::from_slice(&seven(&number.to_string()).payload).unwrap();
        if number.is_multiple_of(2) {
            // There is no place for it.
            start["daemon"] = true.into();
        } else {
            // It is taken, and there is no TEE.
            start["encrypted"] = true.into();
            start["image_url"] = "registry.example/a:1".into();
            start.as_object_mut().unwrap().remove("file");
        }
        message("start", &start)
    };
    for number in 0..300 {
        scene.receive(start(number)).await.unwrap();
        assert_ne!(code(&scene.answer().await), "");
    }
    scene.receive(seven("runs")).await.unwrap();
    assert_eq!(scene.answer().await["results"], "7");
    scene.service.tasks.ended().await;
    scene.service.record.stopped().await;
    let refused = on_record(&folder, &["task-refused"]);
    assert_eq!(refused[0].2, "daemon-tasks-full");
    assert!(refused.len() >= 50, "{refused:?}");
    let begun = on_record(&folder, &["task-begun"]);
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].1, "runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_is_to_be_on_record_a_task_is_before_it_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("audit");
    let settings =
        format!("[daemon_tasks]\ntasks = 0\n[audit]\npath = {folder:?}\nrequired = true\n");
    let mut scene = Scene::new(&settings, bounds(100));
    let mut start: Value = serde_json::from_slice(&seven("a").payload).unwrap();
    start["daemon"] = true.into();
    scene.receive(message("start", &start)).await.unwrap();
    assert_eq!(code(&scene.answer().await), "daemon-tasks-full");
    scene.service.record.stopped().await;
    let kinds = ["task-begun", "accepted", "ended", "task-refused"];
    let expected: Vec<_> = [
        ("task-begun", ""),
        ("accepted", ""),
        ("ended", "daemon-tasks-full"),
    ]
    .map(|(kind, code)| [kind, "a", code].map(str::to_owned).into())
    .into();
    assert_eq!(on_record(&folder, &kinds), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_ends_with_the_code_that_is_answered() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("audit");
    let settings = format!("[audit]\npath = {folder:?}\n[mqtt]\nmax_result_bytes = 4096\n");
    let mut scene = Scene::new(&settings, bounds(100));
    let wat = r#"(component
        (core module $m
            (memory (export "memory") 1)
            (func (export "many") (result i32)
                (i32.store (i32.const 0) (i32.const 8))
                (i32.store (i32.const 4) (i32.const 5000))
                i32.const 0))
        (core instance $i (instantiate $m))
        (func (export "many") (result string)
            (canon lift (core func $i "many") (memory (core memory $i "memory")))))"#;
    scene.receive(start("a", "many", wat)).await.unwrap();
    assert_eq!(code(&scene.answer().await), "result-too-large");
    prepare(&mut scene, start("b", "many", wat)).await;
    scene.receive(invoke("b", "1")).await;
    assert_eq!(code(&scene.answer().await), "result-too-large");
    scene.receive(seven("c")).await.unwrap();
    assert_eq!(scene.answer().await["results"], "7");
    scene.service.tasks.ended().await;
    scene.service.record.stopped().await;
    let ends: Vec<_> = [
        ("a", "result-too-large"),
        ("b", ""),
        ("b", "result-too-large"),
        ("c", ""),
    ]
    .map(|(task, code)| ["ended", task, code].map(str::to_owned).into())
    .into();
    assert_eq!(on_record(&folder, &["ended"]), ends);
}
