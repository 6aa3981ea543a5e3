//! A stand-in for Propeller's Manager: it sends what the Manager sends, with exactly its members, and
//! listens to what proplets say.

mod invocations;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

pub use self::invocations::InvocationOutcome;
use super::server::{BrokerError, PATIENCE, TestBroker};

/// A task as its owner creates it at the Manager.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// Identifier; the Manager uses UUIDs.
    pub id: String,
    /// Name.
    pub name: String,
    /// Image reference; empty for none.
    pub image_url: String,
    /// The component itself, for a plain task.
    pub file: Option<Vec<u8>>,
    /// Inputs.
    pub inputs: Vec<String>,
    /// `cli_args`; `None` is sent as `null`.
    pub cli_args: Option<Vec<String>>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Whether the image is encrypted.
    pub encrypted: bool,
    /// Expected key; empty for none.
    pub kbs_resource_path: String,
    /// What is to be told of it while it runs; `None` is left out.
    pub monitoring_profile: Option<Value>,
    /// The proplet to run it; empty for none.
    pub proplet_id: String,
    /// Whether it runs until it is stopped.
    pub daemon: bool,
    /// Whether it is prepared to be invoked.
    pub latent: bool,
}

impl Task {
    /// A plain task that runs a component from the start message.
    #[must_use]
    pub fn plain(id: &str, name: &str, component: Vec<u8>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            file: Some(component),
            ..Self::default()
        }
    }

    /// An encrypted task.
    #[must_use]
    pub fn encrypted(id: &str, name: &str, image_url: &str) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            image_url: image_url.into(),
            encrypted: true,
            ..Self::default()
        }
    }

    /// The start message as the Manager sends it since 2026-08: empty members are left out, inputs are
    /// strings.
    #[must_use]
    pub fn start_message(&self) -> Value {
        let mut message = Map::new();
        message.insert("id".into(), json!(self.id));
        message.insert("name".into(), json!(self.name));
        message.insert("state".into(), json!(0));
        if !self.image_url.is_empty() {
            message.insert("image_url".into(), json!(self.image_url));
        }
        if let Some(file) = &self.file {
            message.insert("file".into(), json!(base64(file)));
        }
        if !self.inputs.is_empty() {
            message.insert("inputs".into(), json!(self.inputs));
        }
        message.insert("cli_args".into(), json!(self.cli_args));
        message.insert("broadcast".into(), json!(false));
        message.insert("daemon".into(), json!(self.daemon));
        message.insert("latent".into(), json!(self.latent));
        if !self.env.is_empty() {
            message.insert("env".into(), json!(self.env));
        }
        message.insert("encrypted".into(), json!(self.encrypted));
        if !self.kbs_resource_path.is_empty() {
            message.insert("kbs_resource_path".into(), json!(self.kbs_resource_path));
        }
        if let Some(profile) = &self.monitoring_profile {
            message.insert("monitoring_profile".into(), profile.clone());
        }
        message.insert("proplet_id".into(), json!(self.proplet_id));
        Value::Object(message)
    }

    /// The start message as the Manager sent it in early 2026: empty members are `null` or `""`, and
    /// inputs are numbers wherever they are numbers.
    #[must_use]
    pub fn start_message_of_early_2026(&self) -> Value {
        let number = |text: &String| match text.parse::<u64>() {
            Ok(number) => json!(number),
            Err(_) => json!(text),
        };
        let inputs: Vec<Value> = self.inputs.iter().map(number).collect();
        json!({
            "id": self.id,
            "name": self.name,
            "state": 0,
            "image_url": self.image_url,
            "file": self.file.as_deref().map(base64),
            "inputs": if inputs.is_empty() { Value::Null } else { json!(inputs) },
            "cli_args": self.cli_args,
            "daemon": self.daemon,
            "env": if self.env.is_empty() { Value::Null } else { json!(self.env) },
            "encrypted": self.encrypted,
            "kbs_resource_path": self.kbs_resource_path,
            "monitoring_profile": self.monitoring_profile,
            "proplet_id": self.proplet_id,
        })
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What a proplet reported about a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The task.
    pub task_id: String,
    /// The proplet.
    pub proplet_id: String,
    /// The result, or the sealed failure.
    pub results: String,
    /// The error.
    pub error: Option<String>,
}

/// A message that the Manager received.
#[derive(Debug, Clone)]
struct Heard {
    topic: String,
    payload: Bytes,
}

/// A connected Manager. Dropping it ends the connection.
pub struct Manager {
    client: AsyncClient,
    heard: watch::Receiver<Arc<Vec<Heard>>>,
    prefix: String,
    listening: JoinHandle<()>,
}

impl Manager {
    /// Connects to a broker and listens to a channel.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn connect(
        broker: &TestBroker,
        tenant: &str,
        channel: &str,
    ) -> Result<Self, BrokerError> {
        Self::connect_to(broker.port(), tenant, channel).await
    }

    /// Connects to any broker on this machine, as user `manager` with password `any`, and listens to a
    /// channel.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn connect_to(port: u16, tenant: &str, channel: &str) -> Result<Self, BrokerError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("manager-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, ("127.0.0.1", port));
        options
            .set_keep_alive(30)
            .set_max_packet_size(64 << 20, 64 << 20);
        options.set_credentials("manager", "any");
        let (client, mut events) = AsyncClient::builder(options).capacity(128).build();
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);

        let prefix = format!("m/{tenant}/c/{channel}");
        let (sender, heard) = watch::channel(Arc::default());
        let (up, mut subscribed) = watch::channel(false);
        let listening = tokio::spawn(listen(client.clone(), events, prefix.clone(), sender, up));
        timeout(PATIENCE, subscribed.wait_for(|up| *up))
            .await
            .map_err(|_| BrokerError::Timeout("the Manager's subscription".to_owned()))?
            .map_err(|error| BrokerError::Client(error.to_string()))?;
        Ok(Self {
            client,
            heard,
            prefix,
            listening,
        })
    }

    /// Starts a task in today's form.
    ///
    /// # Errors
    /// [`BrokerError::Client`].
    pub async fn start(&self, task: &Task) -> Result<(), BrokerError> {
        self.send("control/manager/start", &task.start_message().to_string())
            .await
    }

    /// Stops a task in today's form.
    ///
    /// # Errors
    /// [`BrokerError::Client`].
    pub async fn stop(&self, task: &Task) -> Result<(), BrokerError> {
        let message = json!({ "id": task.id, "broadcast": false, "proplet_id": task.proplet_id });
        self.send("control/manager/stop", &message.to_string())
            .await
    }

    /// Sends any text or bytes on a topic of the channel, and waits until the broker has it.
    ///
    /// # Errors
    /// [`BrokerError::Client`].
    pub async fn send(&self, suffix: &str, payload: impl AsRef<[u8]>) -> Result<(), BrokerError> {
        self.publish(
            suffix,
            payload.as_ref(),
            PublishOptions::new(QoS::ExactlyOnce),
        )
        .await
    }

    /// As [`Manager::send`], and the broker keeps the message for those who subscribe later, which
    /// Propeller's Manager never asks for.
    ///
    /// # Errors
    /// [`BrokerError::Client`].
    pub async fn send_retained(
        &self,
        suffix: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), BrokerError> {
        let options = PublishOptions::new(QoS::ExactlyOnce).retained();
        self.publish(suffix, payload.as_ref(), options).await
    }

    async fn publish(
        &self,
        suffix: &str,
        payload: &[u8],
        options: PublishOptions,
    ) -> Result<(), BrokerError> {
        let failed = |error: &dyn std::fmt::Display| BrokerError::Client(error.to_string());
        let topic = format!("{}/{suffix}", self.prefix);
        let notice = self
            .client
            .publish_tracked(topic, payload.to_vec(), options)
            .await
            .map_err(|error| failed(&error))?;
        timeout(PATIENCE, notice.wait_completion_async())
            .await
            .map_err(|_| BrokerError::Timeout(format!("the broker to take {suffix}")))?
            .map_err(|error| failed(&error))
    }

    /// Waits for the result of a task.
    ///
    /// # Errors
    /// [`BrokerError::Timeout`].
    pub async fn result(&self, task_id: &str) -> Result<Outcome, BrokerError> {
        let mut heard = self.heard.clone();
        let topic = format!("{}/control/proplet/results", self.prefix);
        let find = |messages: &Arc<Vec<Heard>>| {
            messages
                .iter()
                .filter(|message| message.topic == topic)
                .filter_map(|message| serde_json::from_slice::<Outcome>(&message.payload).ok())
                .find(|outcome| outcome.task_id == task_id)
        };
        let found = timeout(
            PATIENCE,
            heard.wait_for(|messages| find(messages).is_some()),
        )
        .await;
        let what = || BrokerError::Timeout(format!("the result of task {task_id}"));
        match found {
            Ok(Ok(messages)) => find(&messages).ok_or_else(what),
            _ => Err(what()),
        }
    }

    /// How many results of a task were received so far.
    #[must_use]
    pub fn results_so_far(&self, task_id: &str) -> usize {
        self.on("control/proplet/results")
            .iter()
            .filter(|m| m["task_id"] == task_id)
            .count()
    }

    /// Waits until `count` messages have come on a topic of the channel, and gives them all.
    ///
    /// # Errors
    /// [`BrokerError::Timeout`].
    pub async fn messages(&self, suffix: &str, count: usize) -> Result<Vec<Value>, BrokerError> {
        let topic = format!("{}/{suffix}", self.prefix);
        let mut heard = self.heard.clone();
        let enough = |messages: &Arc<Vec<Heard>>| {
            messages
                .iter()
                .filter(|message| message.topic == topic)
                .count()
                >= count
        };
        // What is waited for comes with a lock, and reading once more under it would deadlock with a message
        // that comes in between.
        let came = matches!(timeout(PATIENCE, heard.wait_for(enough)).await, Ok(Ok(_)));
        if !came {
            let what = format!("{count} messages on {suffix}");
            return Err(BrokerError::Timeout(what));
        }
        Ok(self.on(suffix))
    }

    /// All JSON messages on a topic of the channel so far.
    #[must_use]
    pub fn on(&self, suffix: &str) -> Vec<Value> {
        let topic = format!("{}/{suffix}", self.prefix);
        self.heard
            .borrow()
            .iter()
            .filter(|message| message.topic == topic)
            .filter_map(|message| serde_json::from_slice(&message.payload).ok())
            .collect()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Subscribes after every connection and collects what comes.
async fn listen(
    client: AsyncClient,
    mut events: EventLoop,
    prefix: String,
    heard: watch::Sender<Arc<Vec<Heard>>>,
    up: watch::Sender<bool>,
) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                if client
                    .try_subscribe(format!("{prefix}/#"), QoS::ExactlyOnce)
                    .is_err()
                {
                    return;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                up.send_replace(true);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let message = Heard {
                    topic,
                    payload: publish.payload,
                };
                heard.send_modify(|messages| Arc::make_mut(messages).push(message));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!("test Manager: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
