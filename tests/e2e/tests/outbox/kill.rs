//! A daemon that is killed, again and again, at every point of a task's life and at any other moment, with
//! mosquitto as its broker.
//!
//! The daemon is a process of its own, and a line between it and the broker sees every packet. Whatever the daemon
//! acknowledged counts as accepted. In the end every accepted task has an answer; no task began twice, by the logs
//! of all its processes; answers that came more than once are the same bytes where they are on disk; and
//! what must not be on disk is in no file.
//!
//! `PROPLET_KILL_TASKS` says how many tasks there are: 500 unless it says otherwise.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use proplet_testkit::{
    broker::{Manager, Task},
    link::{Fate, Kind, Link, Packet, Sender, Weather},
};
use serde_json::Value;
use tokio::{net::TcpStream, sync::watch, time::timeout};

const ENTITY: &str = "proplet-1";
/// In the result of every task, and of no file.
const MARKER: &str = "4711471147";
/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(120);

/// The points of a task's life that can be seen on the line, for one quality of service: its start and that
/// start's acknowledgement, its result and that result's. A kill is at the first packet of this kind after it
/// was armed, and the packet goes on or is lost.
fn points(qos: u8) -> Vec<(Sender, Kind)> {
    let (start, result) = (Sender::Broker, Sender::Client);
    let all = if qos == 1 {
        vec![Kind::Publish, Kind::PubAck]
    } else {
        vec![Kind::Publish, Kind::PubRec, Kind::PubRel, Kind::PubComp]
    };
    let from = |sender, kind| match (kind, sender) {
        (Kind::Publish | Kind::PubRel, sender) => (sender, kind),
        (_, Sender::Broker) => (Sender::Client, kind),
        (_, Sender::Client) => (Sender::Broker, kind),
    };
    let kinds = all.into_iter();
    kinds
        .flat_map(|kind| [from(start, kind), from(result, kind)])
        .collect()
}

/// One daemon after another, and what they did.
struct Victim {
    /// Where it would put temporary files.
    temporary: PathBuf,
    settings: PathBuf,
    child: Arc<Mutex<Option<Child>>>,
    /// Ids of tasks that began, as the logs say.
    began: Arc<Mutex<Vec<String>>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
}

impl Victim {
    fn start(&self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lab-daemon"))
            .arg(&self.settings)
            .current_dir(&self.temporary)
            .env("TMPDIR", &self.temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let began = Arc::clone(&self.began);
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("Executing task ") {
                    let id = rest.split(' ').next().unwrap();
                    began.lock().unwrap().push(id.to_owned());
                }
                assert!(!line.contains(MARKER), "{line}");
            }
        });
        self.readers.lock().unwrap().push(reader);
        *self.child.lock().unwrap() = Some(child);
    }

    /// Everything that began, once all logs are read.
    fn began(&self) -> Vec<String> {
        for reader in self.readers.lock().unwrap().drain(..) {
            reader.join().unwrap();
        }
        self.began.lock().unwrap().clone()
    }

    fn end(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the line saw.
#[derive(Default)]
struct Seen {
    /// Starts by packet id, on this connection.
    starts: HashMap<u16, String>,
    /// Packet ids of results on this connection.
    results: HashSet<u16>,
    /// Tasks whose start the daemon acknowledged.
    accepted: HashSet<String>,
    /// The point of the next kill, and whether the packet goes on.
    armed: Option<(Sender, Kind, bool)>,
}

impl Seen {
    /// Whether this packet is the point.
    fn look(&mut self, packet: &Packet) -> Option<bool> {
        let on = |suffix: &str| {
            let topic = packet.topic.as_ref();
            topic.is_some_and(|topic| topic.ends_with(suffix))
        };
        let is_about_a_task = match (packet.sender, packet.kind, packet.id) {
            (Sender::Client, Kind::Connect, _) => {
                self.starts.clear();
                self.results.clear();
                false
            }
            (Sender::Broker, Kind::Publish, Some(id)) if on("/start") => {
                let at = packet
                    .bytes
                    .windows(2)
                    .position(|two| two == b"{\"")
                    .unwrap();
                let message: Value = serde_json::from_slice(&packet.bytes[at..]).unwrap();
                let task = message["id"].as_str().unwrap().to_owned();
                self.starts.insert(id, task);
                true
            }
            (Sender::Client, Kind::Publish, Some(id)) => {
                if on("/results") {
                    self.results.insert(id);
                } else {
                    self.results.remove(&id);
                }
                on("/results")
            }
            (Sender::Client, Kind::PubAck | Kind::PubRec | Kind::PubComp, Some(id))
            | (Sender::Broker, Kind::PubRel, Some(id)) => {
                let task = self.starts.get(&id);
                if packet.sender == Sender::Client {
                    self.accepted.extend(task.cloned());
                }
                task.is_some()
            }
            (Sender::Broker, Kind::PubAck | Kind::PubRec | Kind::PubComp, Some(id))
            | (Sender::Client, Kind::PubRel, Some(id)) => self.results.contains(&id),
            _ => false,
        };
        match self.armed {
            Some((sender, kind, passes))
                if is_about_a_task && (sender, kind) == (packet.sender, packet.kind) =>
            {
                self.armed = None;
                Some(passes)
            }
            _ => None,
        }
    }
}

struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    async fn start(folder: &Path) -> Self {
        let port = {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
            listener.local_addr().unwrap().port()
        };
        let config = folder.join("mosquitto.conf");
        let text = format!(
            "user root\npersistence false\nallow_anonymous true\nlistener {port} 127.0.0.1\n\
             max_queued_messages 0\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto did not start; is it installed?");
        let up = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.unwrap();
        Self { child, port }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A task whose result holds the marker, and whose inputs do not.
fn task(id: &str) -> Task {
    let adder = wat::parse_str(
        "(module (func (export \"add\") (param i64 i64) (result i64)
           (i64.add (local.get 0) (local.get 1))))",
    )
    .unwrap();
    Task {
        inputs: vec!["4711471140".into(), "7".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder)
    }
}

fn tasks() -> usize {
    std::env::var("PROPLET_KILL_TASKS").map_or(500, |number| number.parse().unwrap())
}

/// Waits until a daemon that was started after so many beats were heard is there.
async fn present(manager: &Manager, beats: usize) {
    timeout(PATIENCE, async {
        while manager
            .messages("control/proplet/alive", beats + 1)
            .await
            .is_err()
        {}
    })
    .await
    .expect("the daemon did not come back");
}

/// Kills a daemon through all points, `tasks` tasks long.
async fn ordeal(qos: u8, plain_results: bool, tasks: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(folder.path()).await;
    let manager = Manager::connect_to(mosquitto.port, "t", "c").await.unwrap();
    let link = Link::to(mosquitto.port, u64::from(qos) + 40).await.unwrap();
    link.set_weather(Weather {
        delay: Duration::ZERO..=Duration::from_millis(2),
        ..Weather::default()
    });
    let (store, temporary) = (folder.path().join("store"), folder.path().join("tmp"));
    std::fs::create_dir(&temporary).unwrap();
    let settings = folder.path().join("proplet.toml");
    let text = format!(
        "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"{ENTITY}\"\napi_key = \"k\"\n\
         heartbeat_seconds = 1\n[mqtt]\naddress = \"{}\"\nqos = {qos}\n\
         [outbox]\npath = \"{}\"\nplain_results = {plain_results}\n",
        link.url(),
        store.display()
    );
    std::fs::write(&settings, text).unwrap();
    let victim = Victim {
        temporary,
        settings,
        child: Arc::default(),
        began: Arc::default(),
        readers: Mutex::default(),
    };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let killed = watch::Sender::new(0_usize);
    {
        let (seen, child, killed) = (seen.clone(), victim.child.clone(), killed.clone());
        link.watch(move |packet| {
            let Some(passes) = seen.lock().unwrap().look(packet) else {
                return Fate::Passes;
            };
            if let Some(mut child) = child.lock().unwrap().take() {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            killed.send_modify(|kills| *kills += 1);
            if passes { Fate::Passes } else { Fate::Breaks }
        });
    }

    let points: Vec<_> = points(qos)
        .into_iter()
        .flat_map(|(sender, kind)| [(sender, kind, false), (sender, kind, true)])
        .collect();
    // Every point has its turn, however few tasks there are.
    let batch = (tasks / (2 * points.len())).clamp(1, 40);
    let ids: Vec<String> = (0..tasks).map(|number| format!("{qos}-{number}")).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (round, tasks) in ids.chunks(batch).enumerate() {
        let beats = manager.on("control/proplet/alive").len();
        victim.start();
        present(&manager, beats).await;
        // Every second kill is at a point, and the rest at a moment of its own.
        let point = (round % 2 == 0).then(|| points[round / 2 % points.len()]);
        let mut kills = killed.subscribe();
        let before = *kills.borrow_and_update();
        seen.lock().unwrap().armed = point;
        for id in tasks {
            manager.start(&task(id)).await.unwrap();
        }
        match point {
            Some(point) => {
                let kill = kills.wait_for(|kills| *kills > before);
                let kill = timeout(PATIENCE, kill).await;
                drop(kill.unwrap_or_else(|_| panic!("{point:?} was never seen")));
            }
            None => {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                tokio::time::sleep(Duration::from_micros(random % 150_000)).await;
            }
        }
        victim.end();
    }

    let beats = manager.on("control/proplet/alive").len();
    victim.start();
    present(&manager, beats).await;
    let accepted = seen.lock().unwrap().accepted.clone();
    for id in &accepted {
        let answered = manager.result(id).await;
        answered.unwrap_or_else(|error| panic!("an accepted task was lost: {error}"));
    }
    victim.end();

    let began = victim.began();
    let distinct: HashSet<&String> = began.iter().collect();
    assert_eq!(distinct.len(), began.len(), "a task began twice");
    let mut codes: HashMap<String, usize> = HashMap::new();
    let mut answers: HashMap<String, Value> = HashMap::new();
    for answer in manager.on("control/proplet/results") {
        let code = match answer["error"].as_str() {
            Some(error) => error.split(':').next().unwrap().to_owned(),
            None => {
                assert_eq!(answer["results"], MARKER);
                "done".to_owned()
            }
        };
        *codes.entry(code).or_default() += 1;
        let id = answer["task_id"].as_str().unwrap().to_owned();
        let first = answers.entry(id).or_insert_with(|| answer.clone());
        // What is in memory only can be replaced by the news that it was lost, and by nothing else.
        let is_lost = |answer: &Value| {
            let error = answer["error"].as_str().unwrap_or_default();
            !plain_results && error.starts_with("result-lost: ")
        };
        assert!(*first == answer || is_lost(&answer), "{first} {answer}");
    }
    if !plain_results {
        for path in files(folder.path()) {
            let bytes = std::fs::read(&path).unwrap();
            let holds = bytes
                .windows(MARKER.len())
                .any(|window| window == MARKER.as_bytes());
            assert!(!holds, "{}", path.display());
        }
    }
    // A kill at a point that nothing passes would show nothing.
    assert!(accepted.len() > tasks / 10, "{} accepted", accepted.len());
    assert!(
        codes.contains_key("done") && codes.contains_key("interrupted"),
        "{codes:?}"
    );
    println!(
        "qos {qos}, plain results on disk {plain_results}: {} kills at points, {} sent, {} accepted, {} began, \
         answers {codes:?}, none lost, none twice",
        *killed.borrow(),
        tasks,
        accepted.len(),
        began.len(),
    );
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and some minutes; .ci/run installs and runs it"]
async fn nothing_accepted_is_lost_and_nothing_runs_twice() {
    let tasks = tasks();
    for (qos, plain_results) in [(1, true), (2, true), (2, false)] {
        ordeal(qos, plain_results, tasks.div_ceil(3)).await;
    }
}
