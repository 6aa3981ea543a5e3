//! A stand-in for Propeller's image proxy: it hears who asks for an image, and sends its component in chunks to
//! everybody on the channel.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    manager::base64,
    server::{BrokerError, PATIENCE},
};

/// What a proplet asks with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    app_name: String,
}

/// A connected image proxy. Dropping it ends the connection.
pub struct ImageProxy {
    asked: watch::Receiver<Vec<String>>,
    listening: JoinHandle<()>,
}

/// A chunk as the proxy sends it.
#[must_use]
pub fn chunk(app: &str, index: usize, total: usize, data: &[u8]) -> String {
    json!({
        "app_name": app,
        "chunk_idx": index,
        "total_chunks": total,
        "data": base64(data),
    })
    .to_string()
}

impl ImageProxy {
    /// Connects to any broker on this machine, as user `manager` with password `any`. It has these components, and
    /// cuts them into chunks of so many bytes. What it does not have it says nothing about, as Propeller's.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn connect_to(
        port: u16,
        tenant: &str,
        channel: &str,
        images: HashMap<String, Vec<u8>>,
        chunk_bytes: usize,
    ) -> Result<Self, BrokerError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("image-proxy-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, ("127.0.0.1", port));
        options
            .set_keep_alive(30)
            .set_max_packet_size(64 << 20, 64 << 20);
        options.set_credentials("manager", "any");
        let (client, events) = AsyncClient::builder(options).capacity(1024).build();
        let (up, mut subscribed) = watch::channel(false);
        let (heard, asked) = watch::channel(Vec::new());
        let work = Work {
            client,
            prefix: format!("m/{tenant}/c/{channel}/registry"),
            images,
            chunk_bytes: chunk_bytes.max(1),
            heard,
            up,
        };
        let listening = tokio::spawn(work.run(events));
        timeout(PATIENCE, subscribed.wait_for(|up| *up))
            .await
            .map_err(|_| BrokerError::Timeout("the image proxy's subscription".to_owned()))?
            .map_err(|error| BrokerError::Client(error.to_string()))?;
        Ok(Self { asked, listening })
    }

    /// The images that were asked for so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Waits until an image was asked for.
    ///
    /// # Errors
    /// [`BrokerError::Timeout`].
    pub async fn wait_for(&self, image: &str) -> Result<(), BrokerError> {
        let mut asked = self.asked.clone();
        let has = |asked: &Vec<String>| asked.iter().any(|name| name == image);
        match timeout(PATIENCE, asked.wait_for(has)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(BrokerError::Timeout(format!("a request for {image}"))),
        }
    }
}

impl Drop for ImageProxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

struct Work {
    client: AsyncClient,
    prefix: String,
    images: HashMap<String, Vec<u8>>,
    chunk_bytes: usize,
    heard: watch::Sender<Vec<String>>,
    up: watch::Sender<bool>,
}

impl Work {
    async fn run(self, mut events: EventLoop) {
        let work = Arc::new(self);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let topic = format!("{}/proplet", work.prefix);
                    if work.client.try_subscribe(topic, QoS::ExactlyOnce).is_err() {
                        return;
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    work.up.send_replace(true);
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let Ok(request) = serde_json::from_slice::<Request>(&publish.payload) else {
                        tracing::error!("a proplet asked for an image with something else");
                        continue;
                    };
                    let name = request.app_name;
                    work.heard.send_modify(|asked| asked.push(name.clone()));
                    // The event loop must go on while chunks are sent.
                    let work = Arc::clone(&work);
                    tokio::spawn(async move { work.send(&name).await });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("test image proxy: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn send(&self, name: &str) {
        let Some(bytes) = self.images.get(name) else {
            return;
        };
        let topic = format!("{}/server", self.prefix);
        let parts: Vec<&[u8]> = bytes.chunks(self.chunk_bytes).collect();
        for (index, part) in parts.iter().enumerate() {
            let message = chunk(name, index, parts.len(), part);
            let options = PublishOptions::new(QoS::ExactlyOnce);
            let sending = self
                .client
                .publish(topic.clone(), message.into_bytes(), options);
            if sending.await.is_err() {
                return;
            }
        }
    }
}
