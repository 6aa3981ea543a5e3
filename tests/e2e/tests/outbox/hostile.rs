//! A Manager that floods the daemon, and the tasks of an owner who has nothing to do with it: measured before and
//! during each kind of flood, in one run.
//!
//! `PROPLET_HOSTILE_RATE` says how many messages are sent in a second (7,000 unless it says otherwise, and 300 where the
//! build is not an optimised one, which takes no more), `PROPLET_HOSTILE_SECONDS` for how long each time, and
//! `PROPLET_HOSTILE_KINDS` which floods there are: `refused,small`. The figures are printed as JSON, a line for each.
//! What must hold at any speed of the machine is asserted: every task of the owner is answered with its result, whatever
//! of the flood wants an answer has one, and the daemon goes on beating. What the flood costs the owner is asserted
//! where the build is an optimised one.

mod flood;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use proplet_testkit::broker::Manager;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use self::flood::{Flood, Kind};
use crate::{
    kill::sealed::Sealed,
    machine::{Daemon, Mosquitto, PATIENCE, present, settings},
};

const BASE: &str = "m/t/c/c";
/// Between two tasks of the owner.
const PACE: Duration = Duration::from_millis(25);
/// So many of the owner's tasks are on their way at most: on a machine that is slow beyond measure, what counts is that
/// they are answered.
const MOST: usize = 16;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// The floods that are asked for.
fn kinds() -> Vec<Kind> {
    let Ok(asked) = std::env::var("PROPLET_HOSTILE_KINDS") else {
        return Kind::ALL.to_vec();
    };
    let of_name = |name: &str| {
        let mut all = Kind::ALL.into_iter();
        all.find(|kind| format!("{kind:?}").eq_ignore_ascii_case(name))
            .unwrap_or_else(|| panic!("there is no flood {name:?}"))
    };
    asked.split(',').map(of_name).collect()
}

/// What came on the topics of the proplet.
#[derive(Default)]
struct Heard {
    /// When the results of the owner's tasks came.
    owner: HashMap<String, Instant>,
    /// Tasks of floods that were answered.
    flood: HashSet<String>,
    beats: usize,
}

impl Heard {
    fn hear(&mut self, topic: &[u8], payload: &[u8]) {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            task_id: Cow<'a, str>,
            #[serde(borrow)]
            error: Option<Cow<'a, str>>,
        }
        let now = Instant::now();
        if topic.ends_with(b"/alive") {
            self.beats += 1;
        } else if topic.ends_with(b"/results") {
            let answer: Answer<'_> = serde_json::from_slice(payload).unwrap();
            let id = answer.task_id.into_owned();
            if id.starts_with("flood-") {
                self.flood.insert(id);
            } else {
                assert_eq!(answer.error, None, "{id}");
                self.owner.entry(id).or_insert(now);
            }
        }
    }
}

/// The owner's client.
struct Owner {
    client: AsyncClient,
    sealed: Sealed,
    heard: watch::Receiver<Heard>,
    sent: usize,
}

/// Milliseconds from start to result.
struct Figures {
    p50: f64,
    p99: f64,
    tasks: usize,
}

impl Figures {
    fn json(&self) -> Value {
        json!({"tasks": self.tasks, "p50_ms": self.p50, "p99_ms": self.p99})
    }
}

impl Owner {
    async fn connect(port: u16, sealed: Sealed) -> Self {
        let options = MqttOptions::new("owner", ("127.0.0.1", port));
        let (client, mut events) = AsyncClient::builder(options).capacity(1024).build();
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let topics = format!("{BASE}/control/proplet/#");
        client.subscribe(topics, QoS::AtLeastOnce).await.unwrap();
        let (hearing, heard) = watch::channel(Heard::default());
        let (subscribed, mut ready) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(subscribed.send(true)),
                    Event::Incoming(Packet::Publish(publish)) => {
                        hearing.send_modify(|heard| heard.hear(&publish.topic, &publish.payload));
                    }
                    _ => {}
                }
            }
        });
        let ready = timeout(PATIENCE, ready.wait_for(|ready| *ready));
        drop(ready.await.unwrap().unwrap());
        Self {
            client,
            sealed,
            heard,
            sent: 0,
        }
    }

    /// Sends tasks at a pace for a while, and waits for all of them.
    async fn works(&mut self, time: Duration) -> Figures {
        let mut starts = Vec::new();
        let mut pace = tokio::time::interval(PACE);
        let began = Instant::now();
        while began.elapsed() < time {
            // A task counts from when it was due.
            let due = pace.tick().await.into_std();
            let least = (self.sent + 1).saturating_sub(MOST);
            self.hears("a task of the owner was lost", |heard| {
                heard.owner.len() >= least
            })
            .await;
            let id = format!("owner-{}", self.sent);
            self.sent += 1;
            let start = self.sealed.task(&id).start_message().to_string();
            starts.push((id, due));
            let topic = format!("{BASE}/control/manager/start");
            let options = PublishOptions::new(QoS::AtLeastOnce);
            self.client.publish(topic, start, options).await.unwrap();
        }
        let all = self.sent;
        self.hears("tasks of the owner were lost", |heard| {
            heard.owner.len() >= all
        })
        .await;
        let heard = self.heard.borrow();
        let mut times: Vec<f64> = starts
            .iter()
            .map(|(id, start)| (heard.owner[id] - *start).as_secs_f64() * 1000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |part: usize| rounded(times[(times.len() * part / 100).min(times.len() - 1)]);
        Figures {
            p50: at(50),
            p99: at(99),
            tasks: times.len(),
        }
    }

    async fn hears(&mut self, otherwise: &str, mut what: impl FnMut(&Heard) -> bool) {
        let heard = timeout(PATIENCE, self.heard.wait_for(|heard| what(heard))).await;
        drop(heard.expect(otherwise).unwrap());
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// One flood, and the owner's tasks before it and beside it.
async fn endure(owner: &mut Owner, port: u16, kind: Kind, first: u64) -> (u64, Value, f64) {
    let fair = if cfg!(debug_assertions) { 300 } else { 7000 };
    let rate = number("PROPLET_HOSTILE_RATE", fair);
    let usual = if cfg!(debug_assertions) { 3 } else { 20 };
    let time = Duration::from_secs(number("PROPLET_HOSTILE_SECONDS", usual));
    let before = owner.works(time).await;
    let (beats, answered) = {
        let heard = owner.heard.borrow();
        (heard.beats, heard.flood.len())
    };
    let flood = Flood::begin(port, kind, BASE, rate, first);
    let began = Instant::now();
    let during = owner.works(time).await;
    let took = began.elapsed();
    let beats = owner.heard.borrow().beats - beats;
    let sent = tokio::task::spawn_blocking(|| flood.end()).await.unwrap();
    let ended = Instant::now();
    let all = answered + usize::try_from(sent.answered).unwrap();
    loop {
        let seen = owner.heard.borrow().flood.len();
        if seen >= all {
            break;
        }
        owner
            .hears("tasks of the flood were lost", |heard| {
                heard.flood.len() > seen
            })
            .await;
    }
    let ratio = during.p99 / before.p99;
    let figures = json!({
        "flood": format!("{kind:?}").to_lowercase(),
        "optimised": !cfg!(debug_assertions),
        "asked_per_second": rate,
        "sent_per_second": (sent.messages as f64 / took.as_secs_f64()).round(),
        "answers": sent.answered,
        "last_answer_after_ms": ended.elapsed().as_millis() as u64,
        "before": before.json(),
        "during": during.json(),
        "p99_ratio": rounded(ratio),
        "heartbeats": beats,
        "seconds": took.as_secs(),
    });
    println!("{figures}");
    // One is due in each second, counted from the last one.
    assert!(beats as u64 * 2 + 2 >= took.as_secs(), "{figures}");
    (first + sent.messages, figures, ratio)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto; .ci/run installs and runs it"]
async fn a_flood_costs_other_owners_little_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(folder.path(), &[]).await;
    let manager = Manager::connect_to(mosquitto.port, "t", "c").await.unwrap();
    let sealed = Sealed::start().await;
    let outbox = folder.path().join("outbox");
    // Images whose last chunk does not come are given up soon.
    let registry = "[registry]\nplain_images = \"proxy\"\ntimeout_seconds = 5\n";
    let sources = sealed.settings().replace("[registry]\n", registry);
    let more = format!(
        "[outbox]\npath = \"{}\"\n{sources}[limits]\nwall_clock_ms = 2000\n",
        outbox.display(),
    );
    let broker = format!("mqtt://127.0.0.1:{}", mosquitto.port);
    let _daemon = Daemon::start(&[], folder.path(), &settings(&broker, &more));
    present(&manager, 0).await;
    // It hears everything, and would take its part of the machine.
    drop(manager);
    let mut owner = Owner::connect(mosquitto.port, sealed).await;
    // Opened, compiled and known.
    owner.works(Duration::from_secs(1)).await;
    let mut all = Vec::new();
    let mut first = 0;
    for kind in kinds() {
        let (next, figures, ratio) = endure(&mut owner, mosquitto.port, kind, first).await;
        all.push((figures, ratio));
        first = next;
    }
    if !cfg!(debug_assertions) {
        let dear: Vec<_> = all.iter().filter(|(_, ratio)| *ratio > 2.0).collect();
        assert!(dear.is_empty(), "{dear:?}");
    }
}
