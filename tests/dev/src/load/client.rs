//! The light client.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    time::Duration,
};

use proplet_lab::{CHANNEL, TENANT};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::tasks::{Expected, Message, Topic};

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A task that was sent and has no answer yet.
struct Waiting {
    since: Instant,
    expected: Expected,
}

/// What the connection says.
enum Heard {
    Subscribed,
    Alive,
    Answer {
        task: String,
        /// `done` without an error.
        code: String,
        at: Instant,
    },
    Broken(String),
}

/// The Manager's side of the load.
pub struct Client {
    client: AsyncClient,
    heard: mpsc::UnboundedReceiver<Heard>,
    listening: JoinHandle<()>,
    qos: QoS,
    start: String,
    stop: String,
    waiting: HashMap<String, Waiting>,
    latencies: Vec<u32>,
    window: Vec<u32>,
    answers: BTreeMap<String, u64>,
    wrong: BTreeMap<String, u64>,
    is_there: bool,
}

/// What is read of a result.
#[derive(Deserialize)]
struct Answer {
    task_id: String,
    error: Option<String>,
}

impl Client {
    /// Connects and subscribes.
    pub async fn connect(port: u16, qos: u8) -> Result<Self, Box<dyn Error>> {
        let mut options = MqttOptions::new("load", ("127.0.0.1", port));
        options
            .set_keep_alive(30)
            .set_max_packet_size(64 << 20, 64 << 20)
            // mosquitto ends a connection that has more on its way than its `max_inflight_messages`, 20.
            .set_inflight(20);
        let (client, mut events) = AsyncClient::builder(options).capacity(4096).build();
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let topic = |suffix: &str| format!("m/{TENANT}/c/{CHANNEL}/control/{suffix}");
        let qos = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        client.subscribe(topic("proplet/#"), qos).await?;
        // Bounded by the tasks on their way, and by the beats.
        let (say, heard) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(events, topic("proplet/results"), say));
        let mut client = Self {
            client,
            heard,
            listening,
            qos,
            start: topic("manager/start"),
            stop: topic("manager/stop"),
            waiting: HashMap::new(),
            latencies: Vec::new(),
            window: Vec::new(),
            answers: BTreeMap::new(),
            wrong: BTreeMap::new(),
            is_there: false,
        };
        let subscribed = async {
            loop {
                match client.heard.recv().await {
                    Some(Heard::Subscribed) => return Ok(()),
                    Some(Heard::Broken(error)) => return Err(error),
                    Some(_) => {}
                    None => return Err("the connection ended".to_owned()),
                }
            }
        };
        timeout(PATIENCE, subscribed).await??;
        Ok(client)
    }

    /// Waits until the daemon beats.
    pub async fn wait_for_proplet(&mut self) -> Result<(), Box<dyn Error>> {
        let there = async {
            while !self.is_there {
                self.hear().await?;
            }
            Ok::<_, Box<dyn Error>>(())
        };
        timeout(PATIENCE, there)
            .await
            .map_err(|_| "the daemon did not come up within 60 s")?
    }

    /// How many tasks have no answer yet.
    pub fn on_their_way(&self) -> usize {
        self.waiting.len()
    }

    /// Sends what the mixer gave.
    pub fn send(&mut self, messages: Vec<Message>, since: Instant) -> Result<(), Box<dyn Error>> {
        for message in messages {
            let topic = match message.topic {
                Topic::Start => &self.start,
                Topic::Stop => &self.stop,
            };
            self.client.try_publish(
                topic.as_str(),
                message.payload,
                PublishOptions::new(self.qos),
            )?;
            if let Some(expected) = message.expected {
                self.waiting.insert(message.id, Waiting { since, expected });
            }
        }
        Ok(())
    }

    /// Takes the next thing that the connection says. Nothing is lost when this is dropped before it ends.
    pub async fn hear(&mut self) -> Result<(), Box<dyn Error>> {
        match self.heard.recv().await {
            Some(Heard::Answer { task, code, at }) => self.answered(&task, &code, at),
            Some(Heard::Alive) => self.is_there = true,
            Some(Heard::Subscribed) => {}
            Some(Heard::Broken(error)) => return Err(error.into()),
            None => return Err("the connection ended".into()),
        }
        Ok(())
    }

    fn answered(&mut self, task: &str, code: &str, at: Instant) {
        let Some(waiting) = self.waiting.remove(task) else {
            *self.wrong.entry("a second answer".to_owned()).or_default() += 1;
            return;
        };
        if waiting.expected.is_timed() {
            let took = at.saturating_duration_since(waiting.since).as_micros();
            let took = u32::try_from(took).unwrap_or(u32::MAX);
            self.latencies.push(took);
            self.window.push(took);
        }
        if !waiting.expected.is(code) {
            let what = format!("{code} instead of {:?}", waiting.expected);
            *self.wrong.entry(what).or_default() += 1;
        }
        match self.answers.get_mut(code) {
            Some(count) => *count += 1,
            None => {
                self.answers.insert(code.to_owned(), 1);
            }
        }
    }

    /// Begins to count anew. What was wrong before stays so.
    pub fn forget(&mut self) {
        self.latencies.clear();
        self.window.clear();
        self.answers.clear();
    }

    /// Times from when a start was due to its answer since the last call, in microseconds.
    pub fn take_window(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.window)
    }

    /// The same since counting began.
    pub fn latencies(&self) -> Vec<u32> {
        self.latencies.clone()
    }

    /// Answers since counting began by code, `done` for those without an error.
    pub fn answers(&self) -> BTreeMap<String, u64> {
        self.answers.clone()
    }

    /// Waits for the answers that are still due, and says what was not as it should be.
    pub async fn drain(&mut self) -> Result<Faults, Box<dyn Error>> {
        let answered = async {
            while !self.waiting.is_empty() {
                self.hear().await?;
            }
            Ok::<_, Box<dyn Error>>(())
        };
        if let Ok(answered) = timeout(PATIENCE, answered).await {
            answered?;
        }
        let mut lost: BTreeMap<String, u64> = BTreeMap::new();
        for waiting in self.waiting.values() {
            let what = format!("{:?}", waiting.expected);
            *lost.entry(what).or_default() += 1;
        }
        Ok(Faults {
            lost,
            wrong: std::mem::take(&mut self.wrong),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What was not as it should be.
pub struct Faults {
    /// Tasks whose answer never came, by what it should have been.
    pub lost: BTreeMap<String, u64>,
    /// Answers that should have been others, by what they were.
    pub wrong: BTreeMap<String, u64>,
}

async fn listen(mut events: EventLoop, results: String, say: mpsc::UnboundedSender<Heard>) {
    loop {
        let heard = match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish)))
                if publish.topic == results.as_bytes() =>
            {
                let at = Instant::now();
                match serde_json::from_slice::<Answer>(&publish.payload) {
                    Ok(Answer { task_id, error }) => Heard::Answer {
                        task: task_id,
                        code: match error.as_deref() {
                            None | Some("") => "done".to_owned(),
                            Some(error) => error.split(':').next().unwrap_or_default().to_owned(),
                        },
                        at,
                    },
                    Err(error) => Heard::Broken(format!("a result cannot be read: {error}")),
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) if publish.topic.ends_with(b"/alive") => {
                Heard::Alive
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => Heard::Subscribed,
            Ok(_) => continue,
            Err(error) => Heard::Broken(format!("the connection to the broker broke: {error}")),
        };
        let is_over = matches!(heard, Heard::Broken(_));
        if say.send(heard).is_err() || is_over {
            return;
        }
    }
}
