//! Messages that nobody asked for and nobody waits for.

use rumqttc::{PublishOptions, QoS};
use tokio::sync::mpsc;

use super::link::Link;

/// A message that is soon followed by a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Publishes messages until their senders are gone, each once and with quality of service 0, and the next one when the
/// one before has left. So at most one of them is among the requests that results wait in too. While there is no
/// connection, or where those requests have no room, they are dropped.
pub async fn run(link: Link, mut messages: mpsc::Receiver<Unasked>) {
    let mut connection = link.connection();
    while let Some(Unasked { topic, payload }) = messages.recv().await {
        let current = *connection.borrow_and_update();
        if current.is_none() {
            continue;
        }
        let options = PublishOptions::new(QoS::AtMostOnce);
        let Ok(leaving) = link.client.try_publish_tracked(topic, payload, options) else {
            continue;
        };
        tokio::select! {
            // Whether it left or was lost with the connection: it is not sent again.
            _ = leaving.wait_completion_async() => {}
            _ = connection.wait_for(|now| *now != current) => {}
        }
    }
}
