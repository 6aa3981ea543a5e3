//! From what was measured to the connection, or to nowhere.

use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    message::{
        Topics,
        metrics::{NodeMetrics, TaskMetrics},
    },
    mqtt::unasked::Unasked,
};

/// Messages that may wait for the one before them. More are not worth their memory.
const WAITING: usize = 64;

/// Where what was measured goes. It never waits.
#[derive(Clone)]
pub(crate) struct Sender {
    messages: mpsc::Sender<Unasked>,
    node: String,
    task: String,
}

/// A way for messages on these topics, and its end.
pub(crate) fn channel(topics: &Topics) -> (Sender, mpsc::Receiver<Unasked>) {
    let (messages, receiver) = mpsc::channel(WAITING);
    let sender = Sender {
        messages,
        node: topics.metrics().to_owned(),
        task: topics.task_metrics().to_owned(),
    };
    (sender, receiver)
}

impl Sender {
    /// About this process.
    pub(super) fn node(&self, message: &NodeMetrics<'_>) {
        self.send(&self.node, message);
    }

    /// About a task.
    pub(super) fn task(&self, message: &TaskMetrics<'_>) {
        self.send(&self.task, message);
    }

    fn send(&self, topic: &str, message: &impl Serialize) {
        // Texts and numbers always make JSON.
        let payload = serde_json::to_vec(message).unwrap_or_default();
        // When too many wait, this one is not missed: another follows.
        let _ = self.messages.try_send(Unasked {
            topic: topic.to_owned(),
            payload,
        });
    }
}
