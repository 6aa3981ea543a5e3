//! The table of tasks: those that run, those that wait for a place, and what they take together.
//!
//! A task is in it from when it was taken until its answer is in the outbox, and so is an invocation. There is room for
//! so many and for so many bytes. Where there is none, the owner who has the most makes room for others, so that whoever
//! sends many holds up himself.
//!
//! A daemon that serves has a place of its own and is not among the tasks here, but what is kept of its start takes memory
//! for as long as it serves. So its bytes count.

mod room;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use proplet_executor::{Refusal, host_text};
use proplet_runtime::CancelToken;
use proplet_types::Code;
use tokio::sync::watch;

use crate::places::Owner;

/// The tasks and invocations that run or wait. Clones share one.
#[derive(Clone)]
pub(super) struct Table(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// How many are known.
    count: watch::Sender<usize>,
    most: Held,
}

#[derive(Default)]
struct State {
    /// By the ids of tasks, and [`crate::message::InvocationId::key`].
    known: HashMap<String, Started>,
    /// How many there were.
    started: u64,
}

/// A task or invocation that runs or waits.
pub(super) struct Started {
    pub cancel: CancelToken,
    /// What its request takes.
    bytes: usize,
    pub owner: Owner,
    /// Its place among all that were started.
    order: u64,
    pub state: Progress,
    /// Ends the waiting of one that has to make room.
    pub displace: CancelToken,
}

impl Started {
    /// What it takes of what tasks have together.
    fn held(&self) -> Held {
        match self.state {
            Progress::Displaced => Held::default(),
            Progress::Serves => Held {
                tasks: 0,
                bytes: self.bytes,
            },
            Progress::Waits | Progress::Runs | Progress::Prepared => Held {
                tasks: 1,
                bytes: self.bytes,
            },
        }
    }
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Waits,
    Runs,
    /// It waited, and another owner's has its place.
    Displaced,
    /// It is latent, and can be invoked.
    Prepared,
    /// It is a daemon that serves, in a place of its own.
    Serves,
}

/// What tasks take that run or wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    pub tasks: usize,
    pub bytes: usize,
}

/// A task in the table. It is removed when this is dropped.
pub(super) struct Listed {
    table: Table,
    key: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.with(|known| known.remove(&self.key));
    }
}

impl Table {
    /// An empty table with room for so much.
    pub(super) fn new(most: Held) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            count: watch::Sender::new(0),
            most,
        }))
    }

    /// How many tasks run or wait, and changes of that.
    pub(super) fn count(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }

    /// Whether a task of this id runs or waits, or an invocation that has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.with(|known| known.contains_key(key))
    }

    /// Room for a task of this owner. Where there is none, the owner with the most tasks gives up the one that came
    /// last of those that wait, if it has more than this one would. Where none of its tasks waits, this one may be over
    /// the count. Nobody makes room in vain.
    ///
    /// # Errors
    /// `queue-full`.
    pub(super) fn room(&self, owner: &Owner, bytes: usize) -> Result<(), Refusal> {
        let most = self.0.most;
        self.with(|known| match room::made(known, owner, bytes, most) {
            Ok(gone) => {
                for key in gone {
                    if let Some(task) = known.get_mut(&key) {
                        task.state = Progress::Displaced;
                        task.displace.cancel();
                    }
                }
                Ok(())
            }
            Err(_) if room::is_over_the_count(known, owner, bytes, most) => Ok(()),
            Err(refusal) => Err(refusal),
        })
    }

    /// Puts in a task that waits. The token ends it.
    pub(super) fn put(&self, key: String, owner: Owner, bytes: usize) -> (Listed, CancelToken) {
        let cancel = CancelToken::new();
        self.change(|state| {
            state.started = state.started.saturating_add(1);
            let started = Started {
                cancel: cancel.clone(),
                bytes,
                owner,
                order: state.started,
                state: Progress::Waits,
                displace: CancelToken::new(),
            };
            state.known.insert(key.clone(), started);
        });
        let table = self.clone();
        (Listed { table, key }, cancel)
    }

    /// Says how far a task is.
    pub(super) fn set(&self, key: &str, progress: Progress) {
        self.with(|known| {
            if let Some(task) = known.get_mut(key) {
                task.state = progress;
            }
        });
    }

    /// Says that a task serves as a daemon, of this owner, and what is kept of its start.
    pub(super) fn serve(&self, key: &str, owner: Owner, bytes: usize) {
        self.with(|known| {
            if let Some(task) = known.get_mut(key) {
                task.state = Progress::Serves;
                task.owner = owner;
                task.bytes = bytes;
            }
        });
    }

    /// Looks at all of it at once.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut HashMap<String, Started>) -> T) -> T {
        self.change(|state| look(&mut state.known))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        self.0.count.send_replace(state.known.len());
        changed
    }
}

impl Held {
    fn of<'a>(tasks: impl Iterator<Item = &'a Started>) -> Self {
        tasks.fold(Self::default(), |held, task| held.and(task.held()))
    }

    fn and(self, more: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_add(more.tasks),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    fn without(self, less: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_sub(less.tasks),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }

    /// What is held when a task is added.
    fn with(self, bytes: usize) -> Self {
        self.and(Self { tasks: 1, bytes })
    }
}

fn queue_full(most: usize) -> Refusal {
    Refusal::new(
        Code::QueueFull,
        host_text!(
            "{} tasks run or wait on this proplet already; start the task later or elsewhere, \
             or raise [limits] queue",
            most
        ),
    )
}

fn queue_bytes_full(held: usize, bytes: usize, most: usize) -> Refusal {
    Refusal::new(
        Code::QueueFull,
        host_text!(
            "the start messages of the tasks that run or wait on this proplet, daemons too, take {} bytes, this \
             one {}, and {} are allowed; start the task later or elsewhere, push the component as an \
             image instead of sending it as `file`, or raise [limits] queue_bytes",
            held,
            bytes,
            most
        ),
    )
}

pub(super) fn displaced() -> Refusal {
    Refusal::new(
        Code::QueueFull,
        "as many tasks as the settings allow run or wait on this proplet, and tasks of another owner have their \
         part of the places; start the task later or elsewhere, or raise [limits] queue",
    )
}

#[cfg(test)]
mod tests;
