//! Emptying the outbox.

use std::time::Duration;

use futures_util::{
    FutureExt as _,
    stream::{FuturesUnordered, StreamExt as _},
};
use proplet_executor::{Refusal, host_text};
use proplet_outbox::Answer;
use proplet_types::Code;
use rumqttc::PublishOptions;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::{
    link::Link,
    outbox::{About, Item, Kind, Outbox},
};
use crate::message::{InvokeResultMessage, ResultMessage};

/// A message that brought the connection down so often is not sent again: the broker takes nothing of
/// its size.
const MAX_ATTEMPTS: u32 = 5;
/// Messages up to this size are tried for as long as it takes: every broker takes them.
const SMALL_BYTES: usize = 16 * 1024;

/// Sends what is in an outbox whenever there is a connection.
pub struct Delivery {
    /// What to send.
    pub outbox: Outbox,
    /// The connection.
    pub link: Link,
    /// Where results go.
    pub topic: String,
    /// Where answers to invocations go.
    pub invocations_topic: String,
    /// This proplet, as results name it.
    pub entity: String,
    /// At most so many messages are in flight at once.
    pub window: usize,
}

impl Delivery {
    /// Sends until the link is closed. After a failure one message goes out alone, so that one which the
    /// broker cannot take does not drag others down with it.
    pub async fn run(self) {
        let window = self.window.max(1);
        let mut connection = self.link.connection();
        let mut in_flight = FuturesUnordered::new();
        let mut allowed = window;
        let Some(mut settlements) = self.outbox.settlements() else {
            error!("The outbox is emptied already");
            return;
        };
        loop {
            let connected = connection.borrow_and_update().is_some();
            self.outbox.set_connected(connected);
            let now = Instant::now();
            self.outbox.expire(now);
            while connected && in_flight.len() < allowed {
                let Some(item) = self.outbox.take(now) else {
                    break;
                };
                in_flight.push(self.send(item));
            }
            let due = self.outbox.next_due(now);
            let later = due.unwrap_or_else(|| now + Duration::from_secs(3600));
            tokio::select! {
                Some((item, sent)) = in_flight.next() => {
                    allowed = self.done(&item, sent, allowed).await;
                }
                Some(settled) = settlements.recv() => {
                    while let Some(Some((item, sent))) = in_flight.next().now_or_never() {
                        allowed = self.done(&item, sent, allowed).await;
                    }
                    // Who asked may have given up.
                    let _ = settled.send(());
                }
                () = self.outbox.added() => {}
                () = tokio::time::sleep_until(later) => {}
                changed = connection.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn send(&self, item: Item) -> (Item, bool) {
        if item.unmarked {
            self.outbox.mark(item.id).await;
        }
        let options = PublishOptions::new(self.link.qos);
        let client = &self.link.client;
        let topic = match item.about {
            About::Task | About::Started => &self.topic,
            About::Invocation { .. } => &self.invocations_topic,
        };
        let sending = client.publish_tracked(topic, item.payload.clone(), options);
        let sent = match sending.await {
            Ok(notice) => notice.wait_completion_async().await.is_ok(),
            Err(_) => false,
        };
        (item, sent)
    }

    /// Looks at what became of a message, and says how many may be in flight from now on.
    async fn done(&self, item: &Item, sent: bool, allowed: usize) -> usize {
        if sent {
            match item.kind {
                // There may be as many as somebody cares to ask for.
                Kind::Result if item.about == About::Started => {
                    info!("Successfully published that daemon {} runs", item.task);
                }
                Kind::Result if item.about != About::Task => {
                    debug!(
                        "Successfully published an answer to an invocation of task {}",
                        item.task
                    );
                }
                Kind::Result => info!("Successfully published result for task {}", item.task),
                Kind::Refusal => debug!("Successfully published the refusal of task {}", item.task),
            }
            self.outbox.delivered(item.id);
            return allowed.saturating_mul(2).min(self.window.max(1));
        }
        self.failed(item).await;
        1
    }

    async fn failed(&self, item: &Item) {
        if item.attempts + 1 < MAX_ATTEMPTS || item.payload.len() <= SMALL_BYTES {
            warn!(
                "The result of task {} was not acknowledged; it will be sent again",
                item.task
            );
            self.outbox.returned(item.id);
            return;
        }
        error!(
            "The result of task {} cannot be delivered; reporting that instead",
            item.task
        );
        let refusal = Refusal::new(
            Code::ResultUndeliverable,
            host_text!(
                "the broker dropped the connection {} times on this result of {} bytes; lower [mqtt] \
                 max_result_bytes to what the broker takes, or make the result smaller",
                MAX_ATTEMPTS,
                item.payload.len()
            ),
        );
        let report = match &item.about {
            About::Task | About::Started => {
                ResultMessage::refused(&item.task, &self.entity, &refusal).to_payload()
            }
            About::Invocation { id, .. } => {
                InvokeResultMessage::refused(id, &self.entity, &refusal).to_payload()
            }
        };
        let on_disk = Answer::Unkept(Some(refusal.code()));
        self.outbox.replace(item.id, report, on_disk).await;
    }
}
