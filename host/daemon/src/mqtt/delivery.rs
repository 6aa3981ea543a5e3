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
    outbox::{About, Item, Kind, Outbox, Returned, SMALL_BYTES},
};
use crate::message::{InvokeResultMessage, ResultMessage};

/// A message that was alone and brought the connection down so often is not sent again: the broker takes nothing of
/// its size.
const MAX_ATTEMPTS: u32 = 5;

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

/// Whose turn it is, between messages that are tried alone and all others.
#[derive(Default)]
struct Turn {
    /// What is in flight is alone there on purpose.
    alone: bool,
    /// So many others go out before the next message is tried alone.
    others: usize,
}

impl Delivery {
    /// Sends until the link is closed.
    ///
    /// A large message that was in flight with others when the connection broke is tried alone from then on, so that one
    /// which the broker cannot take does not drag others down with it. Between two of those as many others go out as may
    /// be in flight, so neither waits for the end of the other; and after one that brought the connection down, everything
    /// that waits by then, since the pauses between connections grow.
    pub async fn run(self) {
        let window = self.window.max(1);
        let mut connection = self.link.connection();
        let mut in_flight = FuturesUnordered::new();
        let mut turn = Turn::default();
        let Some(mut settlements) = self.outbox.settlements() else {
            error!("The outbox is emptied already");
            return;
        };
        loop {
            let connected = connection.borrow_and_update().is_some();
            self.outbox.set_connected(connected);
            let now = Instant::now();
            self.outbox.expire(now);
            while connected && !turn.alone && in_flight.len() < window {
                let has_suspects = self.outbox.has_suspects();
                let others = (!has_suspects || turn.others > 0).then(|| self.outbox.take(now));
                if let Some(item) = others.flatten() {
                    turn.others = turn.others.saturating_sub(1);
                    in_flight.push(self.send(item));
                    continue;
                }
                if !in_flight.is_empty() {
                    break;
                }
                let Some(item) = self.outbox.take_suspect() else {
                    break;
                };
                turn = Turn {
                    alone: true,
                    others: window,
                };
                in_flight.push(self.send(item));
            }
            let due = self.outbox.next_due(now);
            let later = due.unwrap_or_else(|| now + Duration::from_secs(3600));
            tokio::select! {
                Some((item, sent)) = in_flight.next() => {
                    self.done(&item, sent, &mut turn).await;
                }
                Some(settled) = settlements.recv() => {
                    while let Some(Some((item, sent))) = in_flight.next().now_or_never() {
                        self.done(&item, sent, &mut turn).await;
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

    /// Looks at what became of a message.
    async fn done(&self, item: &Item, sent: bool, turn: &mut Turn) {
        let alone = std::mem::take(&mut turn.alone);
        if alone && !sent {
            turn.others = self.outbox.len();
        }
        if alone && sent {
            self.outbox.passed(item.id);
        }
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
            return;
        }
        self.failed(item, alone).await;
    }

    async fn failed(&self, item: &Item, alone: bool) {
        let how = match alone {
            _ if item.payload.len() <= SMALL_BYTES => Returned::Unsuspected,
            true => Returned::Alone,
            false => Returned::Suspect,
        };
        // Of a size that was given up before, one attempt shows whether that still holds.
        let most = match self.outbox.is_given_up(item.payload.len()) {
            true => 1,
            false => MAX_ATTEMPTS,
        };
        let attempts = item.attempts.saturating_add(1);
        if how != Returned::Alone || attempts < most {
            warn!(
                "The result of task {} was not acknowledged; it will be sent again",
                item.task
            );
            self.outbox.returned(item.id, how);
            return;
        }
        error!(
            "The result of task {} cannot be delivered; reporting that instead",
            item.task
        );
        let refusal = Refusal::new(
            Code::ResultUndeliverable,
            host_text!(
                "the broker dropped the connection at this result of {} bytes, tried {} times by itself; lower [mqtt] \
                 max_result_bytes to what the broker takes, or make the result smaller",
                item.payload.len(),
                attempts
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proplet_outbox::Journal;

    use super::*;
    use crate::mqtt::outbox::{Bounds, Letter, Owner};

    async fn delivery(payload: String) -> Delivery {
        let bounds = Bounds {
            entries: 10,
            bytes: 1 << 20,
        };
        let outbox = Outbox::new(Journal::in_memory(), bounds);
        let letter = Letter {
            task: "1".to_owned(),
            about: About::Task,
            owner: Owner::Plain,
            payload: Bytes::from(payload),
            not_before: Instant::now(),
            number: None,
            on_disk: Answer::Unkept(None),
        };
        let place = outbox.reserve(Kind::Result, letter.payload.len()).unwrap();
        place.put(letter, ()).await;
        Delivery {
            outbox,
            link: Link::unconnected(),
            topic: String::new(),
            invocations_topic: String::new(),
            entity: "proplet".to_owned(),
            window: 8,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_broker_drops_the_connection_at_is_given_up_when_it_was_alone() {
        let delivery = delivery("x".repeat(SMALL_BYTES + 1)).await;
        let first = delivery.outbox.take(Instant::now()).unwrap();
        assert!(!delivery.outbox.has_suspects());
        delivery.done(&first, false, &mut Turn::default()).await;
        // With the others it does not go again.
        assert!(delivery.outbox.take(Instant::now()).is_none());
        for attempt in 0..MAX_ATTEMPTS {
            assert!(delivery.outbox.has_suspects(), "{attempt}");
            let alone = delivery.outbox.take_suspect().unwrap();
            assert_eq!((alone.attempts, &alone.payload), (attempt, &first.payload));
            let mut turn = Turn {
                alone: true,
                others: 0,
            };
            delivery.done(&alone, false, &mut turn).await;
            // What waits now goes first.
            assert_eq!((turn.alone, turn.others), (false, 1));
        }
        assert!(!delivery.outbox.has_suspects());
        let report = delivery.outbox.take(Instant::now()).unwrap();
        let text = String::from_utf8(report.payload.to_vec()).unwrap();
        assert!(text.contains("result-undeliverable: "), "{text}");
        delivery.done(&report, true, &mut Turn::default()).await;
        assert!(delivery.outbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_one_is_tried_for_as_long_as_it_takes_and_alone_it_is_never() {
        let delivery = delivery("x".repeat(SMALL_BYTES)).await;
        for _ in 0..100 {
            let item = delivery.outbox.take(Instant::now()).unwrap();
            delivery.done(&item, false, &mut Turn::default()).await;
            assert!(!delivery.outbox.has_suspects());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_went_through_alone_leaves_nothing_behind() {
        let delivery = delivery("x".repeat(SMALL_BYTES + 1)).await;
        let item = delivery.outbox.take(Instant::now()).unwrap();
        delivery.done(&item, false, &mut Turn::default()).await;
        let alone = delivery.outbox.take_suspect().unwrap();
        let mut turn = Turn {
            alone: true,
            others: 8,
        };
        delivery.done(&alone, true, &mut turn).await;
        assert_eq!((turn.alone, turn.others), (false, 8));
        assert!(delivery.outbox.is_empty() && !delivery.outbox.has_suspects());
    }
}
