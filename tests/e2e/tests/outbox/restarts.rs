//! The daemon with its outbox on disk, through restarts that it is told of. What happens to one that is killed is
//! in `kill.rs`.

use std::{net::SocketAddr, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proplet_daemon::{Daemon, DaemonError, mqtt::outbox::Outbox};
use proplet_executor::Host;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{KEY_ID, Lab, PROPLET, workload::with_recipients};
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    broker::{BrokerSetup, Manager, PATIENCE, Task, TestBroker},
    ports::free_address,
    tee::FakeSnp,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

const ENTITY: &str = "proplet-1";

struct Proplet {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), DaemonError>>,
    outbox: Outbox,
}

impl Proplet {
    fn start(address: &str, more: &str) -> Self {
        let text = format!(
            "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"{ENTITY}\"\napi_key = \"k\"\n\
             heartbeat_seconds = 1\n[mqtt]\naddress = \"{address}\"\nqos = 1\n{more}"
        );
        let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
        let daemon = Daemon::new(Host::new(Arc::new(settings), None)).unwrap();
        let outbox = daemon.outbox();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(daemon.run(async { drop(stopped.await) }));
        Self {
            stop,
            running,
            outbox,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

fn on_disk(folder: &Path, more: &str) -> String {
    format!("[outbox]\npath = \"{}\"\n{more}", folder.display())
}

fn add(id: &str) -> Task {
    let adder = wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap();
    Task {
        inputs: vec!["10".into(), "20".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder)
    }
}

fn spin(id: &str) -> Task {
    let spinner = wat::parse_str("(module (func (export \"spin\") (loop $again (br $again))))");
    Task {
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "spin", spinner.unwrap())
    }
}

/// Waits for a proplet that was started after so many announcements: a beat may still be on its way from one that ended.
async fn present(manager: &Manager, times: usize) {
    manager
        .messages("control/proplet/create", times + 1)
        .await
        .unwrap();
}

async fn health(address: SocketAddr) -> (String, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, serde_json::from_str(body).unwrap())
}

fn state<'a>(report: &'a Value, component: &str) -> &'a Value {
    let components = report["components"].as_array().unwrap();
    let found = components
        .iter()
        .find(|found| found["component"] == component);
    &found.unwrap()["state"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_did_not_take_goes_out_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    for plain_results in [true, false] {
        let more = on_disk(&path, &format!("plain_results = {plain_results}\n"));
        let more = format!("{more}[limits]\nwall_clock_ms = 8000\n");
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let proplet = Proplet::start(&broker.url(), &more);
        present(&manager, 0).await;
        manager.start(&spin("s")).await.unwrap();
        manager.start(&add("a")).await.unwrap();
        manager.result("a").await.unwrap();
        let mut changes = proplet.outbox.changes();
        let acknowledged = changes.wait_for(|_| !proplet.outbox.is_waiting("a"));
        drop(timeout(PATIENCE, acknowledged).await.unwrap().unwrap());
        let port = broker.port();
        broker.stop().await;
        let waits = changes.wait_for(|_| proplet.outbox.is_waiting("s"));
        drop(timeout(PATIENCE, waits).await.unwrap().unwrap());
        proplet.stop().await;

        let setup = BrokerSetup {
            port,
            ..BrokerSetup::default()
        };
        let broker = TestBroker::with(setup).await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let proplet = Proplet::start(&broker.url(), &more);
        let error = manager.result("s").await.unwrap().error.unwrap();
        assert!(error.starts_with("limit-wall-clock: "), "{error}");
        // Without the settings' leave the code is all that was kept.
        let is_lost = error.contains("its words were in memory only");
        assert_eq!(is_lost, !plain_results, "{error}");
        proplet.stop().await;
        assert_eq!(manager.results_so_far("s"), 1);
        assert_eq!(manager.results_so_far("a"), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_runs_once_if_so_set_and_else_again() {
    for (rerun, second) in [("never", "already-run: "), ("always", "30")] {
        let folder = tempfile::tempdir().unwrap();
        let more = on_disk(
            &folder.path().join("outbox"),
            &format!("rerun = \"{rerun}\"\n"),
        );
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        for round in 1..=2 {
            let times = manager.on("control/proplet/create").len();
            let proplet = Proplet::start(&broker.url(), &more);
            present(&manager, times).await;
            manager.start(&add("a")).await.unwrap();
            let results = manager
                .messages("control/proplet/results", round)
                .await
                .unwrap();
            let last = results.last().unwrap();
            if round == 1 {
                assert_eq!(last["results"], "30");
            } else {
                let said = last["error"].as_str().or(last["results"].as_str()).unwrap();
                assert!(said.starts_with(second), "{said}");
            }
            proplet.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_refused_while_the_disk_takes_nothing() {
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let listen = free_address().unwrap();
    // Nobody can make a folder there, root included.
    let more = on_disk(Path::new("/proc/proplet/outbox"), "");
    let more = format!("{more}[health]\nlisten = \"{listen}\"\n");
    let proplet = Proplet::start(&broker.url(), &more);
    present(&manager, 0).await;
    manager.start(&add("a")).await.unwrap();
    let error = manager.result("a").await.unwrap().error.unwrap();
    assert!(error.starts_with("outbox-unavailable: "), "{error}");
    let (status, report) = health(listen).await;
    assert_eq!(
        (status.as_str(), &report["status"]),
        ("503", &"failing".into())
    );
    assert_eq!(state(&report, "outbox"), "io");
    assert_eq!(state(&report, "broker"), "connected");
    proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_what_runs_and_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let listen = free_address().unwrap();
    let more = on_disk(&folder.path().join("outbox"), "");
    let more = format!("{more}[health]\nlisten = \"{listen}\"\n");
    let proplet = Proplet::start(&broker.url(), &more);
    present(&manager, 0).await;
    let task = spin("a-secret-name");
    manager.start(&task).await.unwrap();
    // The answer to a later task says that the first has begun.
    manager.start(&add("later")).await.unwrap();
    manager.result("later").await.unwrap();
    let (status, report) = health(listen).await;
    assert_eq!((status.as_str(), &report["status"]), ("200", &"ok".into()));
    assert_eq!(report["running_tasks"], 1);
    for (component, word) in [
        ("broker", "connected"),
        ("key_broker", "not-configured"),
        ("outbox", "good"),
        ("tee", "no-tee"),
    ] {
        assert_eq!(state(&report, component), word);
    }
    assert!(!report.to_string().contains("a-secret-name"));
    manager.stop(&task).await.unwrap();
    manager.result("a-secret-name").await.unwrap();
    proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let more = on_disk(&folder.path().join("outbox"), "");
    let first = Proplet::start(&broker.url(), &more);
    present(&manager, 0).await;
    let second = Proplet::start(&broker.url(), &more);
    let error = timeout(PATIENCE, second.running).await.unwrap().unwrap();
    let words = error.unwrap_err().to_string();
    assert!(words.contains("another proplet uses the outbox"), "{words}");
    first.stop().await;
}

/// What the receipt in a result says.
fn receipt(results: &str) -> Value {
    let document: Value = serde_json::from_str(results).unwrap();
    let receipt = document["receipt"].as_str().unwrap();
    let payload = URL_SAFE_NO_PAD.decode(receipt.split('.').nth(1).unwrap());
    serde_json::from_slice(&payload.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_result_lies_on_the_disk_as_it_is_sent_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let reader = PrivateKey::generate_p256().unwrap();
    let recipients = with_recipients("", &[reader.public().clone()]);
    let more = format!("[confidential]\n{recipients}\n{}", on_disk(&path, ""));
    let provider = Arc::new(FakeSnp::builder().build());
    let lab = Lab::start(Some(provider), &more).await.unwrap();
    let adder = wat::parse_str(
        "(module (func (export \"add-in-secret\") (param i64 i64) (result i64)
           (i64.add (local.get 0) (local.get 1))))",
    )
    .unwrap();
    let key = KEY_ID.parse().unwrap();
    let published = lab.services.publish("adder", &adder, None, key).await;
    let (_, image) = published.unwrap();
    let task = Task {
        inputs: vec!["4711471140".into(), "7".into()],
        proplet_id: PROPLET.into(),
        ..Task::encrypted("a-sealed-task", "add-in-secret", &image.to_string())
    };
    for sequence in 1..=2 {
        let outcome = lab
            .run(&Task {
                id: format!("{}-{sequence}", task.id),
                ..task.clone()
            })
            .await
            .unwrap();
        assert_eq!(outcome.error, None);
        assert_eq!(receipt(&outcome.results)["sequence"], sequence);
    }
    lab.proplet.stop().await.unwrap();
    // What was removed is not wiped, so whatever was on the disk can be found there.
    let store = std::fs::read(path.join("outbox.redb")).unwrap();
    let holds = |text: &str| {
        let text = text.as_bytes();
        store.windows(text.len()).any(|window| window == text)
    };
    assert!(holds("a-sealed-task") && holds("ciphertext"));
    // All of them so long that no digest, which is on the disk too, holds one by chance.
    for secret in ["4711471147", "4711471140", "add-in-secret"] {
        assert!(!holds(secret), "{secret}");
    }
}
