//! Acknowledging what the broker sent, once the proplet can answer for it.
//!
//! The client library leaves acknowledgements to us. A start is acknowledged when its id is on the disk, or
//! its refusal, and the stop of a latent task when the answer to its start is; everything else at once. They leave in
//! the order in which the messages came, as MQTT demands, so one that waits for the disk holds those behind it back;
//! commits are shared, so that is one commit.
//!
//! A packet id means something in its session only. An acknowledgement that was meant for another would accept
//! a message of the new session that nobody has looked at: so each carries the number of its
//! connection, and is queued under the lock that a change of the connection takes. [`Driver`] drops what was
//! queued before the change.
//!
//! Whoever obeys messages never waits here: the driver waits for them, and an acknowledgement may wait for the
//! driver. What waits is bounded all the same, because a packet id stands for one message at a time: a copy of one
//! that is not acknowledged yet is acknowledged with it.
//!
//! [`Driver`]: super::Driver

use std::time::Duration;

use rumqttc::ClientError;
use tokio::sync::{mpsc, oneshot};

use super::{link::Link, receipt::Receipt};

/// How long the client's queue rests when it is full.
const FULL: Duration = Duration::from_millis(2);

/// The acknowledgements that are due, in order.
#[derive(Clone)]
pub struct Acknowledgements(mpsc::UnboundedSender<Due>);

struct Due {
    receipt: Receipt,
    /// Ends when the message may be acknowledged.
    ready: Option<oneshot::Receiver<()>>,
}

impl Acknowledgements {
    /// Sends on this link, for as long as the returned future runs.
    pub fn new(link: Link) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, mut due) = mpsc::unbounded_channel::<Due>();
        let send = async move {
            while let Some(Due { receipt, ready }) = due.recv().await {
                if let Some(ready) = ready {
                    // Who breaks down before it is done has nothing more to promise.
                    let _ = ready.await;
                }
                acknowledge(&link, receipt).await;
            }
        };
        (Self(sender), send)
    }

    /// Acknowledges a message, once `ready` ends and all before it are acknowledged.
    pub fn push(&self, receipt: Option<Receipt>, ready: Option<oneshot::Receiver<()>>) {
        if let Some(receipt) = receipt {
            // Nobody sends once the connection is given up.
            let _ = self.0.send(Due { receipt, ready });
        }
    }
}

async fn acknowledge(link: &Link, receipt: Receipt) {
    loop {
        {
            let connection = link.connection.borrow();
            if *connection != Some(receipt.connection) {
                // Its session ended, and the message with it.
                return;
            }
            match link.client.try_manual_ack(receipt.acknowledgement.clone()) {
                Err(ClientError::RequestChannelFull(_)) => {}
                Ok(()) | Err(_) => return,
            }
        }
        tokio::time::sleep(FULL).await;
    }
}
