//! The chain of one task.
//!
//! A task that is refused before anything was done for it has nothing that a chain is for, and whoever sends such tasks can
//! send as many as he likes. So a chain can be *expected*: it begins with the first thing that happens, and with
//! what was to be said before. [`TaskLog::end`] tells whether it has.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
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
    stage: Stage,
    /// What the guest may read.
    lines: Vec<String>,
}

enum Stage {
    /// Nothing of it is on record. It begins with this, which was at that time.
    Expected(Parts, SystemTime),
    Begun(Chain),
    Ended(Chain),
    /// It ended before it began.
    Dropped,
}

impl TaskLog {
    /// A chain that has begun.
    pub(crate) fn new(audit: Audit, task: &str, chain: Chain) -> Self {
        Self::of(audit, task, Stage::Begun(chain))
    }

    /// One that begins with this when there is more.
    pub(crate) fn expected(audit: Audit, task: &str, (first, at): (Parts, SystemTime)) -> Self {
        Self::of(audit, task, Stage::Expected(first.task(task), at))
    }

    fn of(audit: Audit, task: &str, stage: Stage) -> Self {
        Self(Arc::new(Inner {
            audit,
            task: task.to_owned(),
            state: Mutex::new(State {
                stage,
                lines: Vec::new(),
            }),
        }))
    }

    /// Begins an expected chain now.
    pub fn begin(&self) {
        drop(self.0.begun());
    }

    /// Puts an event into the task's chain, and gives the head that the chain has with it. After the task's end it goes
    /// into the boot's, under the task's id.
    pub fn record(&self, event: Event) -> Digest {
        self.0.add(event.into())
    }

    /// Head of the chain as it is now; whoever asks begins it. Where it has no entry yet, this is the hash of the line that
    /// it begins at.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.0.begun().head(&self.0.audit)
    }

    /// The entries so far, each as it stands in the log, and the head.
    #[must_use]
    pub fn entries(&self) -> (Vec<String>, Digest) {
        let state = self.0.begun();
        (state.lines.clone(), state.head(&self.0.audit))
    }

    /// How many entries there are so far, of those that [`TaskLog::entry`] gives.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.begun().lines.len()
    }

    /// One entry, from 0, as it stands in the log. None beyond the last one, and once the chain has ended.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<String> {
        self.0.begun().lines.get(index).cloned()
    }

    /// Ends the chain, if it has not ended: its head is put into the boot's. False when it was expected and the task was
    /// refused, so that nothing of the task is on record.
    pub fn end(&self, refused: Refused) -> bool {
        self.0.end(refused)
    }
}

impl Inner {
    fn add(&self, parts: Parts) -> Digest {
        let parts = parts.task(&self.task);
        let sealed = self.audit.seal(&parts);
        let mut state = self.begun();
        let State { stage, lines } = &mut *state;
        let Stage::Begun(chain) = stage else {
            let head = state.head(&self.audit);
            drop(state);
            self.audit.add(&parts);
            return head;
        };
        let now = self.audit.now();
        lines.push(self.audit.extend(chain, &parts, sealed.as_deref(), now));
        state.head(&self.audit)
    }

    fn end(&self, refused: Refused) -> bool {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Expected(..)) {
            if refused.is_some() {
                state.stage = Stage::Dropped;
                return false;
            }
            self.begin(&mut state);
        }
        state.stage = match std::mem::replace(&mut state.stage, Stage::Dropped) {
            Stage::Begun(mut chain) => {
                self.put_end(&mut chain, refused);
                state.lines = Vec::new();
                Stage::Ended(chain)
            }
            ended => ended,
        };
        true
    }

    fn put_end(&self, chain: &mut Chain, refused: Refused) {
        let parts = Parts::new("ended").task(&self.task).code(refused);
        self.audit.extend(chain, &parts, None, self.audit.now());
        let ends = Parts::new("task-ended")
            .task(&self.task)
            .code(refused)
            .word("chain", chain.name())
            .digest("head", chain.head())
            .about("entries", chain.len());
        self.audit.add(&ends);
    }

    /// The chain, begun if it was expected.
    fn begun(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        self.begin(&mut state);
        state
    }

    fn begin(&self, state: &mut State) {
        if let Stage::Expected(first, at) = &state.stage {
            let sealed = self.audit.seal(first);
            let mut chain = self.audit.chain(&self.task);
            let line = self.audit.extend(&mut chain, first, sealed.as_deref(), *at);
            state.lines.push(line);
            state.stage = Stage::Begun(chain);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn head(&self, audit: &Audit) -> Digest {
        let own = match &self.stage {
            Stage::Begun(chain) | Stage::Ended(chain) => chain.head(),
            Stage::Expected(..) | Stage::Dropped => None,
        };
        // A chain that has begun always has one.
        own.unwrap_or_else(|| audit.head())
    }
}

impl Drop for Inner {
    /// Of a task that nobody ended.
    fn drop(&mut self) {
        drop(self.begun());
        self.end(Some("abandoned"));
    }
}
