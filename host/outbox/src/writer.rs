//! The thread that writes.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use proplet_disk::Busy;
use proplet_types::Code;
use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};
use tracing::{error, warn};

use crate::{
    accept::{AcceptError, Counts},
    core::Core,
    disk::OpenError,
    entry::Answer,
    health::Health,
    recovered::Recovered,
    seal::SealingRoot,
    trouble::Trouble,
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
        counts: Counts,
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
    /// Whoever accepted it did not wait for the answer.
    Revoke {
        number: u64,
    },
    Flush {
        reply: Reply<Kept>,
    },
    /// The sealing root that is awaited, or why it is not there.
    Root(Result<SealingRoot, Code>),
}

/// How the thread answers. Whoever waits has a place as long as this lives.
pub(crate) struct Reply<T> {
    pub(crate) sender: oneshot::Sender<T>,
    pub(crate) _place: tokio::sync::OwnedSemaphorePermit,
}

impl<T> Reply<T> {
    /// Whether anybody waited for it.
    pub(crate) fn send(self, answer: T) -> bool {
        self.sender.send(answer).is_ok()
    }
}

/// What became of an answer: its number if it has one, and whether it is on the disk.
pub(crate) type Kept = (Option<u64>, Result<(), Trouble>);

/// The thread. Dropping this ends it once everything is written, or after a while: then it is left to itself.
pub(crate) struct Writer {
    sender: Option<Sender<Operation>>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    ended: Mutex<Receiver<()>>,
    patience: Duration,
    pub(crate) busy: Busy,
}

impl Writer {
    /// Starts the thread, which opens the store first.
    pub(crate) fn start(
        core: Core,
        patience: Duration,
        health: Arc<watch::Sender<Health>>,
        opened: oneshot::Sender<Result<(), OpenError>>,
        recovered: UnboundedSender<Recovered>,
    ) -> io::Result<Self> {
        let (sender, operations) = channel();
        let (alive, ended) = channel();
        let busy = Busy::default();
        // From now on, whatever the thread does first.
        busy.begin();
        let mut work = Work {
            core,
            health,
            recovered,
            operations,
            lazy: None,
            retry: None,
            rest: RETRY.0,
            busy: busy.clone(),
        };
        let thread = Builder::new().name("outbox".to_owned()).spawn(move || {
            let _alive: Sender<()> = alive;
            if !work.unlocked() {
                return;
            }
            match work.open() {
                Ok(()) => {
                    let _ = opened.send(Ok(()));
                    work.run();
                }
                Err(error) => {
                    if let Err(Err(error)) = opened.send(Err(error)) {
                        error!("{error}");
                    }
                }
            }
        })?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            ended: Mutex::new(ended),
            patience,
            busy,
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
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
            error!(
                "The disk of the outbox does not answer; what is not on it by now is not written"
            );
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("The outbox broke down; report it with the proplet's log");
        }
    }
}

struct Work {
    core: Core,
    health: Arc<watch::Sender<Health>>,
    recovered: UnboundedSender<Recovered>,
    operations: Receiver<Operation>,
    /// When removals are due.
    lazy: Option<Instant>,
    /// When a store that failed is due.
    retry: Option<Instant>,
    rest: Duration,
    busy: Busy,
}

/// Those who wait for a commit.
#[derive(Default)]
struct Group {
    accepted: Vec<(u64, Reply<Result<u64, AcceptError>>)>,
    others: Vec<Waiting>,
}

/// Somebody who waits for something to be written.
struct Waiting {
    number: Option<u64>,
    /// The number is new, and known to nobody else.
    is_new: bool,
    reply: Reply<Kept>,
}

impl Work {
    fn run(&mut self) {
        loop {
            let mut group = Group::default();
            let mut open = true;
            let next = self.next();
            self.busy.begin();
            match next {
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
            self.publish();
            if !open {
                if self.core.is_dirty() {
                    warn!("The proplet ends, and not everything in the outbox is on the disk");
                }
                return;
            }
        }
    }

    /// Waits for the sealing root, where one is awaited; what is asked for meanwhile is refused. False when the journal
    /// is given up before.
    fn unlocked(&mut self) -> bool {
        while self.core.is_locked() {
            self.publish();
            match self.operations.recv() {
                Ok(Operation::Root(root)) => self.core.unlock(root),
                Ok(operation) => {
                    let mut group = Group::default();
                    self.stage(operation, &mut group);
                    self.settle(group, false);
                }
                Err(_) => return false,
            }
        }
        true
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
            Operation::Accept {
                task,
                counts,
                reply,
            } => match self.core.accept(&task, counts) {
                Ok(number) => group.accepted.push((number, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Operation::Answer {
                number,
                task,
                answer,
                reply,
            } => {
                let is_new = number.is_none();
                let number = self.core.answer(number, &task, answer);
                group.others.push(Waiting {
                    number,
                    is_new,
                    reply,
                });
            }
            Operation::Forget { number } => self.core.forget(number),
            Operation::Revoke { number } => self.core.revoke(number),
            Operation::Root(root) => self.core.unlock(root),
            Operation::Flush { reply } => {
                self.retry = self.retry.map(|_| Instant::now());
                group.others.push(Waiting {
                    number: None,
                    is_new: false,
                    reply,
                });
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
            // Opening the store had an answer of its own.
            self.busy.begin();
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
            self.tell(group, &committed);
        }
        if self.core.is_open() && self.core.is_dirty() {
            self.lazy.get_or_insert(Instant::now() + LAZY);
        }
    }

    /// Tells everybody what became of what they asked for. Who gave up meanwhile has told others that it did not
    /// happen, so it is undone.
    fn tell(&mut self, group: Group, committed: &Result<(), Trouble>) {
        for (number, reply) in group.accepted {
            let accepted = committed.clone().map(|()| number);
            let is_known = reply.send(accepted.map_err(AcceptError::from));
            if !is_known && committed.is_ok() {
                self.core.revoke(number);
            }
        }
        for Waiting {
            number,
            is_new,
            reply,
        } in group.others
        {
            let is_known = reply.send((number, committed.clone()));
            if let Some(number) = number.filter(|_| is_new && !is_known) {
                self.core.forget(number);
            }
        }
    }

    /// Opens the store, and passes on what was in it.
    fn open(&mut self) -> Result<(), OpenError> {
        self.busy.begin();
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

    /// The disk answered, and this is how it is.
    fn publish(&self) {
        self.busy.end();
        let health = self.core.health();
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }
}
