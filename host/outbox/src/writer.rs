//! The thread that writes.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};
use tracing::{error, warn};

use crate::{
    accept::AcceptError, core::Core, disk::OpenError, entry::Answer, health::Health,
    recovered::Recovered, trouble::Trouble,
};

/// So many operations share a commit at most.
const MAX_GROUP: usize = 512;
/// Removals that nobody waits for are written after this time.
const LAZY: Duration = Duration::from_millis(100);
/// How long a store that failed rests before it is tried again, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What the thread is asked to do.
pub(crate) enum Operation {
    Accept {
        task: String,
        reply: Reply<Result<u64, AcceptError>>,
    },
    Answer {
        number: Option<u64>,
        task: String,
        answer: Answer,
        reply: Reply<Kept>,
    },
    Forget {
        number: u64,
    },
    Flush {
        reply: Reply<Kept>,
    },
}

/// How the thread answers. Whoever waits has a place as long as this lives.
pub(crate) struct Reply<T> {
    pub(crate) sender: oneshot::Sender<T>,
    pub(crate) _place: tokio::sync::OwnedSemaphorePermit,
}

impl<T> Reply<T> {
    pub(crate) fn send(self, answer: T) {
        // Who does not wait any more does not want to know.
        let _ = self.sender.send(answer);
    }
}

/// What became of an answer: its number if it has one, and whether it is on the disk.
pub(crate) type Kept = (Option<u64>, Result<(), Trouble>);

/// The thread. Dropping this ends it once everything is written.
pub(crate) struct Writer {
    sender: Option<Sender<Operation>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, which opens the store first.
    pub(crate) fn start(
        core: Core,
        health: watch::Sender<Health>,
        opened: oneshot::Sender<Result<(), OpenError>>,
        recovered: UnboundedSender<Recovered>,
    ) -> io::Result<Self> {
        let (sender, operations) = channel();
        let mut work = Work {
            core,
            health,
            recovered,
            operations,
            lazy: None,
            retry: None,
            rest: RETRY.0,
        };
        let thread = Builder::new()
            .name("outbox".to_owned())
            .spawn(move || match work.open() {
                Ok(()) => {
                    let _ = opened.send(Ok(()));
                    work.run();
                }
                Err(error) => drop(opened.send(Err(error))),
            })?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// The thread ends only with this, so nothing is lost here; if it broke down, whoever waits is told.
    pub(crate) fn send(&self, operation: Operation) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(operation);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("The outbox broke down; report it with the proplet's log");
        }
    }
}

struct Work {
    core: Core,
    health: watch::Sender<Health>,
    recovered: UnboundedSender<Recovered>,
    operations: Receiver<Operation>,
    /// When removals are due.
    lazy: Option<Instant>,
    /// When a store that failed is due.
    retry: Option<Instant>,
    rest: Duration,
}

/// Those who wait for a commit.
#[derive(Default)]
struct Group {
    accepted: Vec<(u64, Reply<Result<u64, AcceptError>>)>,
    others: Vec<(Option<u64>, Reply<Kept>)>,
}

impl Work {
    fn run(&mut self) {
        loop {
            let mut group = Group::default();
            let mut open = true;
            match self.next() {
                Ok(operation) => {
                    self.stage(operation, &mut group);
                    let more = self.operations.try_iter().take(MAX_GROUP);
                    for operation in more.collect::<Vec<_>>() {
                        self.stage(operation, &mut group);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            self.settle(group, !open);
            if !open {
                if self.core.is_dirty() {
                    warn!("The proplet ends, and not everything in the outbox is on the disk");
                }
                return;
            }
        }
    }

    /// The next operation, or a time at which something is due.
    fn next(&self) -> Result<Operation, RecvTimeoutError> {
        match [self.lazy, self.retry].into_iter().flatten().min() {
            Some(due) => self
                .operations
                .recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self
                .operations
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn stage(&mut self, operation: Operation, group: &mut Group) {
        match operation {
            Operation::Accept { task, reply } => match self.core.accept(&task) {
                Ok(number) => group.accepted.push((number, reply)),
                Err(error) => reply.send(Err(error)),
            },
            Operation::Answer {
                number,
                task,
                answer,
                reply,
            } => {
                let number = self.core.answer(number, &task, answer);
                group.others.push((number, reply));
            }
            Operation::Forget { number } => self.core.forget(number),
            Operation::Flush { reply } => {
                self.retry = self.retry.map(|_| Instant::now());
                group.others.push((None, reply));
            }
        }
    }

    /// Writes what somebody waits for or what is due, and tells them.
    fn settle(&mut self, group: Group, last: bool) {
        let now = Instant::now();
        if !self.core.is_open() && (last || self.retry.is_none_or(|due| due <= now)) {
            // What an operator has to change was told at the start; later it is one trouble among others.
            if let Err(error) = self.open() {
                error!("{error}");
            }
        }
        let is_urgent = !group.accepted.is_empty() || !group.others.is_empty() || last;
        let is_due = self.lazy.is_some_and(|due| due <= now);
        if is_urgent || is_due {
            self.lazy = None;
            let committed = if self.core.is_dirty() || !self.core.is_open() {
                self.core.commit()
            } else {
                Ok(())
            };
            if let Err(trouble) = &committed {
                for (number, _) in &group.accepted {
                    self.core.revoke(*number);
                }
                self.retry.get_or_insert(now + self.rest);
                tracing::debug!("the outbox was not written: {trouble}");
            }
            self.publish();
            for (number, reply) in group.accepted {
                reply.send(
                    committed
                        .clone()
                        .map(|()| number)
                        .map_err(AcceptError::from),
                );
            }
            for (number, reply) in group.others {
                reply.send((number, committed.clone()));
            }
        } else if self.core.is_open() && self.core.is_dirty() {
            self.lazy.get_or_insert(now + LAZY);
        }
    }

    /// Opens the store, and passes on what was in it.
    fn open(&mut self) -> Result<(), OpenError> {
        let opened = self.core.open();
        let now = Instant::now();
        if self.core.is_open() {
            self.retry = None;
            self.rest = RETRY.0;
            if self.core.is_dirty() {
                self.lazy = Some(now);
            }
        } else {
            self.retry = Some(now + self.rest);
            self.rest = (self.rest * 2).min(RETRY.1);
        }
        self.publish();
        for (number, entry) in opened? {
            let _ = self.recovered.send(Recovered::new(number, entry));
        }
        Ok(())
    }

    fn publish(&self) {
        let health = self.core.health();
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }
}
