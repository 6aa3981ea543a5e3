//! Emptying the outbox.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use proplet_executor::{Refusal, host_text};
use rumqttc::PublishOptions;
use tokio::{sync::Notify, time::Instant};
use tracing::{error, info, warn};

use super::{
    Link,
    outbox::{Entry, Outbox, OutboxFull},
};
use crate::message::ResultMessage;

/// A result that brought the connection down so often is not sent again: the broker takes nothing of
/// its size.
const MAX_ATTEMPTS: u32 = 5;
/// Results up to this size are tried for ever: every broker takes them.
const SMALL_BYTES: usize = 16 * 1024;

/// Takes results in and sends them when there is a connection. Clones share one outbox.
#[derive(Clone)]
pub struct Delivery {
    outbox: Arc<dyn Outbox>,
    changed: Arc<Notify>,
    emptied: Arc<Notify>,
}

impl Delivery {
    /// Delivers from this outbox.
    #[must_use]
    pub fn new(outbox: Arc<dyn Outbox>) -> Self {
        Self {
            outbox,
            changed: Arc::default(),
            emptied: Arc::default(),
        }
    }

    /// Takes a result in, to be sent no sooner than `not_before`.
    ///
    /// # Errors
    /// [`OutboxFull`].
    pub fn submit(&self, message: ResultMessage, not_before: Instant) -> Result<(), OutboxFull> {
        self.outbox.put(message, not_before)?;
        self.changed.notify_one();
        Ok(())
    }

    /// As [`Delivery::submit`], waiting for a place. A task keeps its own place meanwhile, so tasks do
    /// not run ahead of a slow broker.
    pub async fn submit_waiting(&self, message: ResultMessage, not_before: Instant) {
        loop {
            let emptied = self.emptied.notified();
            match self.submit(message.clone(), not_before) {
                Ok(()) => return,
                Err(OutboxFull) => emptied.await,
            }
        }
    }

    /// Ends when every result is with the broker.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.outbox.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Sends results until the link is closed. At most `window` are in flight at once; after a failure
    /// one alone, so that a result which the broker cannot take does not drag others down with it.
    pub async fn run(self, link: Link, topic: String, window: usize) {
        let window = window.max(1);
        let mut connection = link.connection();
        let mut in_flight = FuturesUnordered::new();
        let mut allowed = window;
        loop {
            let connected = connection.borrow_and_update().is_some();
            let now = Instant::now();
            while connected && in_flight.len() < allowed {
                let Some(entry) = self.outbox.take(now) else {
                    break;
                };
                in_flight.push(send(&link, &topic, entry));
            }
            let due = self.outbox.next_due().filter(|due| *due > now);
            let later = due.unwrap_or_else(|| now + Duration::from_secs(3600));
            tokio::select! {
                Some((entry, sent)) = in_flight.next() => {
                    if sent {
                        allowed = (allowed * 2).min(window);
                        info!("Successfully published result for task {}", entry.message.task_id);
                        self.outbox.delivered(entry.ticket);
                    } else {
                        allowed = 1;
                        self.failed(&entry);
                    }
                    self.emptied.notify_waiters();
                }
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(later) => {}
                changed = connection.changed() => if changed.is_err() { return },
            }
        }
    }

    fn failed(&self, entry: &Entry) {
        let message = &entry.message;
        if entry.attempts + 1 < MAX_ATTEMPTS || message.results.len() <= SMALL_BYTES {
            warn!(
                "The result of task {} was not acknowledged; it will be sent again",
                message.task_id
            );
            self.outbox.returned(entry.ticket);
            return;
        }
        error!(
            "The result of task {} cannot be delivered; reporting that instead",
            message.task_id
        );
        let refusal = Refusal::new(
            "result-undeliverable",
            host_text!(
                "the broker dropped the connection {} times on this result of {} bytes; lower [mqtt] \
                 max_result_bytes to what the broker takes, or make the result smaller",
                MAX_ATTEMPTS,
                message.results.len()
            ),
        );
        let report = ResultMessage::refused(&message.task_id, &message.proplet_id, &refusal);
        self.outbox.replace(entry.ticket, report);
    }
}

async fn send(link: &Link, topic: &str, entry: Entry) -> (Entry, bool) {
    let Ok(payload) = serde_json::to_vec(&entry.message) else {
        return (entry, false);
    };
    let options = PublishOptions::new(link.qos);
    let sent = match link.client.publish_tracked(topic, payload, options).await {
        Ok(notice) => notice.wait_completion_async().await.is_ok(),
        Err(_) => false,
    };
    (entry, sent)
}
