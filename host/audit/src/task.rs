//! The chain of one task.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proplet_types::Digest;

use crate::{
    audit::Audit,
    chain::Chain,
    event::{Event, Parts, Refused},
};

/// The chain of one task. Clones share one; it ends with [`TaskLog::end`], or with the last of them.
#[derive(Clone)]
pub struct TaskLog(Arc<Inner>);

impl fmt::Debug for TaskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskLog({})", self.0.task)
    }
}

struct Inner {
    audit: Audit,
    task: String,
    state: Mutex<State>,
}

struct State {
    chain: Chain,
    /// What the guest may read.
    lines: Vec<String>,
    ended: bool,
}

impl TaskLog {
    pub(crate) fn new(audit: Audit, task: &str, chain: Chain) -> Self {
        Self(Arc::new(Inner {
            audit,
            task: task.to_owned(),
            state: Mutex::new(State {
                chain,
                lines: Vec::new(),
                ended: false,
            }),
        }))
    }

    /// Puts an event into the task's chain, and gives the head that the chain has with it. After the task's end it goes
    /// into the boot's, under the task's id.
    pub fn record(&self, event: Event) -> Digest {
        self.0.add(event.into())
    }

    /// Head of the chain as it is now. Where it has no entry yet, this is the hash of the line that it begins at.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.0.lock().head()
    }

    /// The entries so far, each as it stands in the log, and the head.
    #[must_use]
    pub fn entries(&self) -> (Vec<String>, Digest) {
        let state = self.0.lock();
        (state.lines.clone(), state.head())
    }

    /// How many entries there are so far, of those that [`TaskLog::entry`] gives.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().lines.len()
    }

    /// One entry, from 0, as it stands in the log. None beyond the last one, and once the chain has ended.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<String> {
        self.0.lock().lines.get(index).cloned()
    }

    /// Ends the chain, if it has not ended: its head is put into the boot's.
    pub fn end(&self, refused: Refused) {
        self.0.end(refused);
    }
}

impl Inner {
    fn add(&self, parts: Parts) -> Digest {
        let parts = parts.task(&self.task);
        let sealed = self.audit.seal(&parts);
        let mut state = self.lock();
        if state.ended {
            let head = state.head();
            drop(state);
            self.audit.add(&parts);
            return head;
        }
        let line = self.audit.extend(&mut state.chain, &parts, sealed.as_ref());
        state.lines.push(line);
        state.head()
    }

    fn end(&self, refused: Refused) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        let parts = Parts::new("ended").task(&self.task).code(refused);
        self.audit.extend(&mut state.chain, &parts, None);
        state.lines = Vec::new();
        let ends = Parts::new("task-ended")
            .task(&self.task)
            .code(refused)
            .word("chain", state.chain.name())
            .digest("head", Some(state.head()))
            .about("entries", state.chain.len());
        self.audit.add(&ends);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn head(&self) -> Digest {
        // A task's chain always has one.
        self.chain.head().unwrap_or(Digest::from_bytes([0; 32]))
    }
}

impl Drop for Inner {
    /// Of a task that nobody ended.
    fn drop(&mut self) {
        self.end(Some("abandoned"));
    }
}
