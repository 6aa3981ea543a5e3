//! A Manager that floods the daemon, and the tasks of an owner who has nothing to do with it: measured before and
//! during the flood, in one run.
//!
//! `PROPLET_HOSTILE_RATE` says how many messages are sent in a second (7,000 unless it says otherwise, and 300 where the
//! build is not an optimised one, which takes no more), `PROPLET_HOSTILE_SECONDS` for how long. The figures are printed as JSON. What must hold at any speed of the machine is
//! asserted: every task of the owner is answered with its result, and the daemon goes on beating. What the flood costs
//! the owner is asserted where the build is an optimised one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use proplet_testkit::broker::Manager;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use crate::{
    kill::sealed::Sealed,
    machine::{Daemon, ENTITY, Mosquitto, PATIENCE, present, settings, spin},
};

const BASE: &str = "m/t/c/c/control";
/// Between two tasks of the owner.
const PACE: Duration = Duration::from_millis(25);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// A client that only sends, or only listens.
fn client(port: u16, name: &str) -> (AsyncClient, rumqttc::EventLoop) {
    let mut options = MqttOptions::new(name, ("127.0.0.1", port));
    options.set_max_packet_size(1 << 20, 1 << 20);
    AsyncClient::builder(options).capacity(1024).build()
}

/// When the results of tasks came.
#[derive(Clone)]
struct Ear {
    heard: Arc<Mutex<HashMap<String, Instant>>>,
    count: watch::Receiver<usize>,
}

impl Ear {
    async fn listen(port: u16) -> Self {
        let (client, mut events) = client(port, "ear");
        let heard: Arc<Mutex<HashMap<_, _>>> = Arc::default();
        let (counting, count) = watch::channel(0);
        let (subscribed, mut ready) = watch::channel(false);
        let all = heard.clone();
        tokio::spawn(async move {
            client
                .subscribe(format!("{BASE}/proplet/results"), QoS::AtMostOnce)
                .await
                .unwrap();
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(subscribed.send(true)),
                    Event::Incoming(Packet::Publish(publish)) => {
                        let now = Instant::now();
                        // Only the owner's are read: there are thousands of others.
                        if !publish.payload.windows(6).any(|six| six == b"owner-") {
                            continue;
                        }
                        let message: Value = serde_json::from_slice(&publish.payload).unwrap();
                        assert!(message["error"].is_null(), "{message}");
                        let id = message["task_id"].as_str().unwrap().to_owned();
                        let mut all = all.lock().unwrap();
                        all.entry(id).or_insert(now);
                        counting.send_replace(all.len());
                    }
                    _ => {}
                }
            }
        });
        drop(
            timeout(PATIENCE, ready.wait_for(|ready| *ready))
                .await
                .unwrap()
                .unwrap(),
        );
        Self { heard, count }
    }
}

struct Owner {
    manager: Manager,
    sealed: Sealed,
    ear: Ear,
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
    /// Sends tasks at a pace for a while, and waits for all of them.
    async fn works(&mut self, time: Duration) -> Figures {
        let mut starts = Vec::new();
        let mut pace = tokio::time::interval(PACE);
        let began = Instant::now();
        while began.elapsed() < time {
            pace.tick().await;
            let id = format!("owner-{}", self.sent);
            self.sent += 1;
            let task = self.sealed.task(&id);
            starts.push((id, Instant::now()));
            self.manager.start(&task).await.unwrap();
        }
        let all = self.sent;
        let heard = self.ear.count.wait_for(|count| *count >= all);
        drop(
            timeout(PATIENCE, heard)
                .await
                .expect("tasks of the owner were lost")
                .unwrap(),
        );
        let heard = self.ear.heard.lock().unwrap();
        let mut times: Vec<f64> = starts
            .iter()
            .map(|(id, start)| (heard[id] - *start).as_secs_f64() * 1000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
        Figures {
            p50: at(50),
            p99: at(99),
            tasks: times.len(),
        }
    }
}

/// One of every kind: what is not for us, what cannot be answered, what is refused, stops of nothing, and now and then
/// a task that runs as long as it may.
fn nonsense(count: u64, spinner: &Value) -> (&'static str, String) {
    let id = format!("flood-{count}");
    if count.is_multiple_of(500) {
        let mut start = spinner.clone();
        start["id"] = json!(id);
        return ("manager/start", start.to_string());
    }
    match count % 4 {
        0 => (
            "manager/stop",
            json!({"id": id, "proplet_id": ENTITY}).to_string(),
        ),
        1 => ("manager/start", "{\"name\":\"no id\"".to_owned()),
        2 => {
            let start = json!({"id": id, "name": "a", "proplet_id": ENTITY, "file": "%"});
            ("manager/start", start.to_string())
        }
        _ => {
            let start = json!({"id": id, "name": "a", "proplet_id": "another", "file": "AAAA"});
            ("manager/start", start.to_string())
        }
    }
}

/// Floods until told to stop; how many messages were sent.
async fn flood(port: u16, rate: u64, stop: watch::Receiver<bool>) -> u64 {
    let (client, mut events) = client(port, "flood");
    let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let spinner = spin("spinner").start_message();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let began = Instant::now();
    let mut sent = 0;
    while !*stop.borrow() {
        pace.tick().await;
        let due = u64::try_from(began.elapsed().as_millis()).unwrap() * rate / 1000;
        while sent < due {
            let (topic, body) = nonsense(sent, &spinner);
            let topic = format!("{BASE}/{topic}");
            let options = PublishOptions::new(QoS::AtLeastOnce);
            client.publish(topic, body, options).await.unwrap();
            sent += 1;
        }
    }
    polling.abort();
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto; .ci/run installs and runs it"]
async fn a_flood_costs_other_owners_little_and_loses_nothing() {
    let fair = if cfg!(debug_assertions) { 300 } else { 7000 };
    let rate = number("PROPLET_HOSTILE_RATE", fair);
    let time = Duration::from_secs(number("PROPLET_HOSTILE_SECONDS", 10));
    let folder = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(folder.path(), &[]).await;
    let manager = Manager::connect_to(mosquitto.port, "t", "c").await.unwrap();
    let sealed = Sealed::start().await;
    let outbox = folder.path().join("outbox");
    let more = format!(
        "[outbox]\npath = \"{}\"\n{}[limits]\nwall_clock_ms = 2000\n",
        outbox.display(),
        sealed.settings()
    );
    let broker = format!("mqtt://127.0.0.1:{}", mosquitto.port);
    let _daemon = Daemon::start(&[], folder.path(), &settings(&broker, &more));
    present(&manager, 0).await;
    let ear = Ear::listen(mosquitto.port).await;
    let mut owner = Owner {
        manager,
        sealed,
        ear,
        sent: 0,
    };
    // Opened, compiled and known.
    owner.works(Duration::from_secs(1)).await;
    let before = owner.works(time).await;
    let beats = owner.manager.on("control/proplet/alive").len();
    let (stop, stopped) = watch::channel(false);
    let flooding = tokio::spawn(flood(mosquitto.port, rate, stopped));
    let began = Instant::now();
    let during = owner.works(time).await;
    let took = began.elapsed();
    stop.send_replace(true);
    let sent = flooding.await.unwrap();
    let beats = owner.manager.on("control/proplet/alive").len() - beats;
    let ratio = during.p99 / before.p99;
    let figures = json!({
        "optimised": !cfg!(debug_assertions),
        "asked_per_second": rate,
        "sent_per_second": (sent as f64 / took.as_secs_f64()).round(),
        "before": before.json(),
        "during": during.json(),
        "p99_ratio": (ratio * 100.0).round() / 100.0,
        "heartbeats": beats,
        "seconds": took.as_secs(),
    });
    println!("{figures}");
    // One is due in each second.
    assert!(beats as u64 + 2 >= took.as_secs(), "{figures}");
    if !cfg!(debug_assertions) {
        assert!(ratio <= 2.0, "{figures}");
    }
}
