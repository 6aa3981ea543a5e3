//! The messages: what they are about, and what they are to their task.

use bytes::Bytes;
use proplet_outbox::{Answer, Number};
use tokio::time::Instant;

use crate::{message::InvocationId, places::Owner};

/// What a message is about, of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The whole of it. The answer outlives the process where the journal does.
    Task,
    /// That a daemon runs, or a component that answers HTTP requests. A restart ends it and says that instead, so it is in
    /// memory only; and it goes when there is an answer to the whole, which must not be overtaken by it.
    Started,
    /// One invocation, whose answer nobody waits for after this. So it is in memory only, and goes when its time is
    /// over.
    Invocation {
        /// Which one.
        id: InvocationId,
        /// When its answer is of no use any more.
        until: Instant,
    },
}

impl About {
    /// When the message goes, if it has not gone out.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self {
            Self::Task | Self::Started => None,
            Self::Invocation { until, .. } => Some(*until),
        }
    }

    /// What waits is found by this.
    pub(super) fn subject(&self, task: &str) -> String {
        match self {
            Self::Task | Self::Started => task.to_owned(),
            Self::Invocation { id, .. } => id.key(),
        }
    }
}

/// The answer to a task.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The task that it is about.
    pub task: String,
    /// What of it.
    pub about: About,
    /// Whose the task is, as far as it is known. Owners take turns.
    pub owner: Owner,
    /// The message as it goes out.
    pub payload: Bytes,
    /// It goes out no sooner than this.
    pub not_before: Instant,
    /// The task's entry in the journal, when it was accepted.
    pub number: Option<Number>,
    /// What of it is on the disk.
    pub on_disk: Answer,
}

impl Letter {
    /// Names what it is about: the task's id, or [`InvocationId::key`].
    #[must_use]
    pub fn subject(&self) -> String {
        self.about.subject(&self.task)
    }
}

/// What a message is to its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What became of it.
    Result,
    /// It was not run.
    Refusal,
}

/// A message that is in flight.
#[derive(Debug, Clone)]
pub struct Item {
    /// Names it towards the outbox.
    pub id: u64,
    /// The task that it is about.
    pub task: String,
    /// What of it.
    pub about: About,
    /// The message.
    pub payload: Bytes,
    /// How often it was sent alone, without an acknowledgement.
    pub attempts: u32,
    /// What it is.
    pub kind: Kind,
    /// That it is handed to the broker is to be on the disk first.
    pub unmarked: bool,
}
