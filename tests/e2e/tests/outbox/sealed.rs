//! A daemon whose outbox lies sealed under a root that comes from a key broker: killed, with other roots, with none,
//! and with a key broker that does not give it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proplet_testkit::{
    broker::{Manager, Task, TestBroker, Visit},
    kbs::{DevKeyBroker, Endpoint, Fault, Policy},
    link::{Fate, Kind, Link, Sender},
    ports::free_address,
};
use proplet_types::ResourceUri;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use crate::machine::{self, Daemon, ENTITY, PATIENCE, present, spin};

const ROOT: &str = "kbs:///fleet/host-credential/outbox";
const ANSWERED: &str = "a-task-with-an-answer";
const INTERRUPTED: &str = "a-task-that-is-interrupted";
/// In the result of the first of them.
const MARKER: &str = "4711471147";

fn root() -> ResourceUri {
    ROOT.parse().unwrap()
}

fn task(id: &str) -> Task {
    let adder = wat::parse_str(
        "(module (func (export \"add\") (param i64 i64) (result i64)
           (i64.add (local.get 0) (local.get 1))))",
    );
    Task {
        inputs: vec!["4711471140".into(), "7".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder.unwrap())
    }
}

struct Scene {
    folder: tempfile::TempDir,
    broker: TestBroker,
    manager: Manager,
    link: Link,
    kbs: DevKeyBroker,
    health: SocketAddr,
}

impl Scene {
    /// With a key broker that has this root.
    async fn new(bytes: &[u8]) -> Self {
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let link = Link::to(broker.port(), 12).await.unwrap();
        let kbs = DevKeyBroker::start().await.unwrap();
        kbs.set_resource(&root(), bytes);
        let health = free_address().unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            broker,
            manager,
            link,
            kbs,
            health,
        }
    }

    fn outbox(&self) -> PathBuf {
        self.folder.path().join("outbox")
    }

    fn store(&self) -> PathBuf {
        self.outbox().join("outbox.redb")
    }

    /// A daemon with a root, or without.
    fn start(&self, sealed: bool) -> Daemon {
        let root = match sealed {
            true => format!("sealing_root_resource = {ROOT:?}\n"),
            false => String::new(),
        };
        let more = format!(
            "[outbox]\npath = {:?}\nplain_results = true\nrerun = \"never\"\n{root}\
             [kbs]\nurl = {:?}\nallow_http = true\ntimeout_seconds = 5\n[health]\nlisten = \"{}\"\n",
            self.outbox(),
            self.kbs.url(),
            self.health,
        );
        let settings = machine::settings(&self.link.url(), &more);
        Daemon::start(&[], self.folder.path(), &settings)
    }

    async fn started(&self, sealed: bool) -> Daemon {
        let times = self.manager.on("control/proplet/create").len();
        let daemon = self.start(sealed);
        present(&self.manager, times).await;
        daemon
    }

    /// Kills a daemon while one task runs and the answer to another cannot reach the broker.
    async fn killed(&self) {
        let (held, mut holds) = watch::channel(false);
        self.link.watch(move |packet| {
            let topic = packet.topic.as_deref().unwrap_or_default();
            if (packet.sender, packet.kind) == (Sender::Client, Kind::Publish)
                && topic.ends_with("/results")
            {
                held.send_replace(true);
                return Fate::Breaks;
            }
            Fate::Passes
        });
        let daemon = self.started(true).await;
        self.manager.start(&spin(INTERRUPTED)).await.unwrap();
        self.manager.start(&task(ANSWERED)).await.unwrap();
        let held = timeout(PATIENCE, holds.wait_for(|held| *held)).await;
        drop(held.unwrap().unwrap());
        // It is killed where it stands.
        drop(daemon);
        self.link.watch(|_| Fate::Passes);
        assert_eq!(self.manager.on("control/proplet/results").len(), 0);
    }

    /// Both answers come, and once.
    async fn is_answered(&self) {
        let answered = self.manager.result(ANSWERED).await.unwrap();
        assert_eq!((answered.results.as_str(), answered.error), (MARKER, None));
        let interrupted = self.manager.result(INTERRUPTED).await.unwrap();
        let error = interrupted.error.unwrap();
        assert!(error.starts_with("interrupted: "), "{error}");
    }

    /// What `/health` says of the outbox, once that is so.
    async fn outbox_is(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                if let Some(report) = health(self.health).await {
                    let components = report["components"].as_array().unwrap();
                    let of_outbox = |one: &&Value| one["component"] == "outbox";
                    let outbox = components.iter().find(of_outbox).unwrap();
                    if wanted(outbox) {
                        return outbox.clone();
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, found).await.unwrap()
    }

    async fn outbox_waits_for(&self, state: &str) {
        let outbox = self.outbox_is(|outbox| outbox["state"] == state).await;
        assert_eq!(outbox["status"], "failing");
    }

    /// Stores that were set aside.
    fn aside(&self) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.outbox()).unwrap();
        names
            .map(|name| name.unwrap().path())
            .filter(|path| path.display().to_string().contains(".damaged-"))
            .collect()
    }
}

async fn health(address: SocketAddr) -> Option<Value> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

fn ended(mut daemon: Daemon) {
    daemon.terminate();
    daemon.ended();
}

/// Neither ids, nor what ids could be tried out against, nor results.
fn is_not_in_clear(store: &Path) {
    let bytes = std::fs::read(store).unwrap();
    assert!(!bytes.is_empty());
    let digests = [ANSWERED, INTERRUPTED].map(|id| digest(&SHA256, id.as_bytes()));
    let [first, second] = &digests;
    let clear = [
        ANSWERED.as_bytes(),
        INTERRUPTED.as_bytes(),
        MARKER.as_bytes(),
        first.as_ref(),
        second.as_ref(),
    ];
    for clear in clear {
        let mut windows = bytes.windows(clear.len());
        assert!(!windows.any(|window| window == clear), "{clear:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_sealed_outlives_a_kill_and_tells_nothing() {
    let scene = Scene::new(&[7; 32]).await;
    scene.killed().await;
    is_not_in_clear(&scene.store());
    let daemon = scene.started(true).await;
    scene.is_answered().await;
    // What ran is known too.
    scene.manager.start(&task(ANSWERED)).await.unwrap();
    let results = scene.manager.messages("control/proplet/results", 3);
    let last = results.await.unwrap().pop().unwrap();
    assert_eq!(last["task_id"], ANSWERED);
    let error = last["error"].as_str().unwrap();
    assert!(error.starts_with("already-run: "), "{error}");
    ended(daemon);
    assert_eq!(scene.manager.results_so_far(INTERRUPTED), 1);
    assert_eq!(scene.manager.results_so_far(ANSWERED), 2);
    is_not_in_clear(&scene.store());
    assert_eq!(scene.aside(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_root_is_set_aside_and_good_again_under_its_own() {
    for (sealed, word, words) in [
        (
            true,
            "other-root",
            "it was sealed under another sealing root",
        ),
        (false, "no-root", "the settings name no sealing root"),
    ] {
        let scene = Scene::new(&[7; 32]).await;
        scene.killed().await;
        scene.kbs.set_resource(&root(), &[8; 64]);
        let daemon = scene.started(sealed).await;
        daemon.says(words);
        let outbox = scene.outbox_is(|outbox| outbox["state"] == "good").await;
        assert_eq!(outbox["set_aside"], true);
        assert_eq!(outbox["set_aside_because"], word);
        // It goes on with a new one.
        scene.manager.start(&task("another")).await.unwrap();
        let result = scene.manager.result("another").await.unwrap();
        assert_eq!(result.results, MARKER);
        ended(daemon);
        let aside = scene.aside();
        let [aside] = aside.as_slice() else {
            panic!("{aside:?}");
        };

        std::fs::rename(aside, scene.store()).unwrap();
        scene.kbs.set_resource(&root(), &[7; 32]);
        let daemon = scene.started(true).await;
        scene.is_answered().await;
        ended(daemon);
        assert_eq!(scene.manager.results_so_far(ANSWERED), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_before_the_root_is_there() {
    let scene = Scene::new(&[7; 32]).await;
    let packets = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&packets);
    scene.link.watch(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        Fate::Passes
    });
    scene.kbs.set_policy(Policy::DenyAll);
    let daemon = scene.start(true);
    scene.outbox_waits_for("kbs-denied").await;
    scene.manager.start(&task("too-early")).await.unwrap();
    // A stop ends the wait.
    ended(daemon);

    let daemon = scene.start(true);
    scene.outbox_waits_for("kbs-denied").await;
    scene.kbs.set_resource(&root(), &[7; 31]);
    scene.kbs.set_policy(Policy::Default);
    scene.outbox_waits_for("credential-invalid").await;
    daemon.says("32 to 1024");
    assert_eq!(packets.load(Ordering::SeqCst), 0);
    let is_ours = |visit: &Visit| *visit == Visit::Connected(ENTITY.into());
    assert!(!scene.broker.visits().iter().any(is_ours));
    assert!(!scene.store().exists());

    scene.kbs.set_resource(&root(), &[7; 32]);
    daemon.says("gave the sealing root");
    present(&scene.manager, 0).await;
    scene.manager.start(&task("in-time")).await.unwrap();
    let result = scene.manager.result("in-time").await.unwrap();
    assert_eq!(result.results, MARKER);
    ended(daemon);
    assert_eq!(scene.manager.results_so_far("too-early"), 0);
}

/// What waits is sent when the key broker is back, however long that takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_broker_that_is_down_is_waited_for() {
    let scene = Scene::new(&[7; 32]).await;
    scene.killed().await;
    scene.kbs.inject(Endpoint::Auth, Fault::Drop);
    let times = scene.manager.on("control/proplet/create").len();
    let daemon = scene.start(true);
    scene.outbox_waits_for("kbs-unavailable").await;
    assert_eq!(scene.manager.on("control/proplet/results").len(), 0);
    scene.kbs.heal();
    present(&scene.manager, times).await;
    scene.is_answered().await;
    ended(daemon);
}
