//! A daemon that is killed, again and again, at every point of a task's life and at any other moment, with
//! mosquitto as its broker.
//!
//! The daemon is a process of its own, and a line between it and the broker sees every packet. Whatever the daemon
//! acknowledged counts as accepted. In the end every accepted task has an answer; no task began twice, by the logs
//! of all its processes; answers that came more than once are the same bytes where they are on disk;
//! no result that the Manager has is called lost; and what must not be on disk is in no file.
//!
//! Plain tasks are killed with their results on disk and without, and encrypted ones, whose results are on disk sealed,
//! in a store that is in clear and in one that is sealed as well, where not even ids are in a file.
//!
//! `PROPLET_KILL_TASKS` says how many tasks there are: 500 unless it says otherwise.

pub(crate) mod sealed;

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
use tokio::{sync::watch, time::timeout};

use self::sealed::Sealed;
use crate::machine::{ENTITY, Mosquitto, PATIENCE, present};

/// In the result of every task, and in no file.
const MARKER: &str = "4711471147";
/// In the start message of every task, and in no file.
const INPUT: &str = "4711471140";

/// In the id of every task, and in no file of a sealed store.
const ID: &str = "the-task-0815-";

/// What is killed.
enum Form {
    /// Plain tasks, whose results may be on the disk or not.
    Plain { on_disk: bool },
    /// Encrypted ones, with a sealing root or without.
    Encrypted {
        sealed: Box<Sealed>,
        store_is_sealed: bool,
    },
}

impl Form {
    fn task(&self, id: &str) -> Task {
        match self {
            Self::Plain { .. } => task(id),
            Self::Encrypted { sealed, .. } => sealed.task(id),
        }
    }

    /// What the settings say of it.
    fn settings(&self) -> String {
        match self {
            Self::Plain { on_disk } => format!("plain_results = {on_disk}\n"),
            Self::Encrypted {
                sealed,
                store_is_sealed: true,
            } => sealed.settings_with_a_root(),
            Self::Encrypted { sealed, .. } => sealed.settings(),
        }
    }

    /// What must be in no file.
    fn secrets(&self) -> Vec<&'static str> {
        match self {
            Self::Plain { on_disk: true } => Vec::new(),
            Self::Plain { on_disk: false } => vec![MARKER, INPUT],
            Self::Encrypted {
                store_is_sealed: true,
                ..
            } => vec![MARKER, INPUT, sealed::CANARY, ID],
            Self::Encrypted { .. } => vec![MARKER, INPUT, sealed::CANARY],
        }
    }

    /// Whether an answer may be followed by another one to the same task.
    fn may_follow(&self, first: &Value, answer: &Value) -> bool {
        let error = answer["error"].as_str().unwrap_or_default();
        let in_memory = matches!(self, Self::Plain { on_disk: false });
        // Of a result that was in memory the restart says that the broker may have it. That it is lost it says only
        // where nobody has it.
        first == answer || (in_memory && error.starts_with("result-unconfirmed: "))
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain { on_disk: true } => "plain, results on disk",
            Self::Plain { on_disk: false } => "plain, results in memory",
            Self::Encrypted {
                store_is_sealed: true,
                ..
            } => "encrypted, store sealed",
            Self::Encrypted { .. } => "encrypted",
        })
    }
}

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
            .arg("log-at-once")
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

/// A task whose result holds the marker, and whose inputs do not.
fn task(id: &str) -> Task {
    let adder = wat::parse_str(
        "(module (func (export \"add\") (param i64 i64) (result i64)
           (i64.add (local.get 0) (local.get 1))))",
    )
    .unwrap();
    Task {
        inputs: vec![INPUT.into(), "7".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder)
    }
}

fn tasks() -> usize {
    std::env::var("PROPLET_KILL_TASKS").map_or(500, |number| number.parse().unwrap())
}

/// Kills a daemon through all points, `tasks` tasks long.
async fn ordeal(qos: u8, form: Form, tasks: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(folder.path(), &[]).await;
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
         [outbox]\npath = \"{}\"\n{}",
        link.url(),
        store.display(),
        form.settings()
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
    let ids: Vec<String> = (0..tasks)
        .map(|number| format!("{ID}{qos}-{number}"))
        .collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (round, tasks) in ids.chunks(batch).enumerate() {
        let times = manager.on("control/proplet/create").len();
        victim.start();
        present(&manager, times).await;
        // Every second kill is at a point, and the rest at a moment of its own.
        let point = (round % 2 == 0).then(|| points[round / 2 % points.len()]);
        let mut kills = killed.subscribe();
        let before = *kills.borrow_and_update();
        seen.lock().unwrap().armed = point;
        for id in tasks {
            manager.start(&form.task(id)).await.unwrap();
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

    let times = manager.on("control/proplet/create").len();
    victim.start();
    present(&manager, times).await;
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
                match &form {
                    Form::Plain { .. } => assert_eq!(answer["results"], MARKER),
                    Form::Encrypted { sealed, .. } => {
                        sealed.look(answer["results"].as_str().unwrap())
                    }
                }
                "done".to_owned()
            }
        };
        *codes.entry(code).or_default() += 1;
        let id = answer["task_id"].as_str().unwrap().to_owned();
        let first = answers.entry(id).or_insert_with(|| answer.clone());
        assert!(form.may_follow(first, &answer), "{first} {answer}");
    }
    let searched = files(folder.path());
    for path in &searched {
        let bytes = std::fs::read(path).unwrap();
        for secret in form.secrets() {
            let secret = secret.as_bytes();
            let holds = bytes.windows(secret.len()).any(|window| window == secret);
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
        "{form}, qos {qos}: {} kills at points, {} sent, {} accepted, {} began, answers {codes:?}, none lost, none \
         twice; {} files searched",
        *killed.borrow(),
        tasks,
        accepted.len(),
        began.len(),
        searched.len(),
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
    let plain = |on_disk| Form::Plain { on_disk };
    let sealed = async |store_is_sealed| Form::Encrypted {
        sealed: Box::new(Sealed::start().await),
        store_is_sealed,
    };
    for (qos, form) in [
        (1, plain(true)),
        (2, plain(false)),
        (1, sealed(false).await),
        (2, sealed(false).await),
        (1, sealed(true).await),
    ] {
        ordeal(qos, form, tasks.div_ceil(5)).await;
    }
}
