//! Where answers wait until the broker has them.
//!
//! A task is over when its answer is with the broker, not when it has been handed to a socket: a clean
//! session is dropped with its connection, and everything in flight with it. So an answer stays in the
//! outbox until the broker acknowledged it, and goes out again on the next connection. The Manager
//! overwrites a result by an equal one, so a repeated message does no harm.
//!
//! Refusals may have half of the room, and go out beside the results, so that whoever is refused a thousand times holds up
//! nobody's result. A start whose refusal has no room yet is not acknowledged, so it is still the broker's.
//!
//! An answer to an invocation is for somebody who waits half a minute for it and never looks again. It goes the same way,
//! but it is in memory only, and it is dropped when its time is over: what would a restart do with it?
//!
//! [`Outbox`] decides what goes out when. An answer has its place before it is made: in memory, where its bytes
//! lie until the broker has them, and in the [`Journal`], which outlives the process. It is sent only after the
//! journal has it, so that what the Manager knows, a restart knows too.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use proplet_outbox::{Answer, Journal, Number};
use thiserror::Error;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};
use tracing::warn;

use crate::message::InvocationId;

/// The longest time that an answer waits for its time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Of so many messages in a row one is a refusal, when there are both.
const RESULTS_IN_A_ROW: usize = 3;

/// The outbox takes no more.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the outbox is full: the broker takes results more slowly than tasks make them")]
pub struct OutboxFull;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Messages.
    pub entries: usize,
    /// Bytes of all messages together.
    pub bytes: usize,
}

/// What a message is about, of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The whole of it. The answer outlives the process where the journal does.
    Task,
    /// That a daemon runs. A restart ends it and says that instead, so it is in memory only; and it goes when there is
    /// an answer to the whole, which must not be overtaken by it.
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
    fn subject(&self, task: &str) -> String {
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
    /// How often it was sent without an acknowledgement.
    pub attempts: u32,
    /// What it is.
    pub kind: Kind,
    /// That it is handed to the broker is to be on the disk first.
    pub unmarked: bool,
}

/// Messages that wait for their time and for the broker. Clones share one outbox.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    bounds: Bounds,
    journal: Journal,
    state: Mutex<State>,
    added: Notify,
    removed: Notify,
    /// Who waits for room for a refusal has a turn, in the order of asking.
    turn: tokio::sync::Mutex<()>,
    /// Rises with every change of what waits.
    changes: watch::Sender<u64>,
    settling: mpsc::Sender<oneshot::Sender<()>>,
}

struct State {
    last_id: u64,
    /// Messages that wait, or have a place to.
    entries: usize,
    bytes: usize,
    results: VecDeque<Waiting>,
    refusals: VecDeque<Waiting>,
    /// Refusals that wait, or have a place to.
    refusal_entries: usize,
    refusal_bytes: usize,
    /// Results that went out since the last refusal.
    in_a_row: usize,
    /// Whether there is a connection, so that what comes in goes out at once.
    connected: bool,
    /// How many messages wait, by what they are about.
    tasks: HashMap<String, usize>,
    settlements: Option<Settlements>,
}

/// Requests to look at all acknowledgements that have come: see [`Outbox::settled`].
pub(super) type Settlements = mpsc::Receiver<oneshot::Sender<()>>;

struct Waiting {
    id: u64,
    task: String,
    about: About,
    payload: Bytes,
    number: Option<Number>,
    due: Instant,
    in_flight: bool,
    attempts: u32,
    kind: Kind,
    on_disk: Answer,
    /// It is in flight, and not sent once more.
    is_over: bool,
}

impl Waiting {
    /// Whether it is of no use any more.
    fn is_over(&self, now: Instant) -> bool {
        self.is_over || self.about.until().is_some_and(|until| until <= now)
    }
}

/// Room for one message. Dropping it gives the room back.
pub struct Place {
    outbox: Outbox,
    bytes: usize,
    kind: Kind,
    /// A message has taken the room over.
    is_taken: bool,
}

/// An answer that is on its way into the outbox.
pub struct Expected {
    outbox: Outbox,
    subject: String,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.outbox.with(|state| state.settle(&self.subject));
    }
}

impl Outbox {
    /// An empty outbox over a journal.
    #[must_use]
    pub fn new(journal: Journal, bounds: Bounds) -> Self {
        let (settling, settlements) = mpsc::channel(1);
        Self(Arc::new(Shared {
            bounds,
            journal,
            state: Mutex::new(State {
                last_id: 0,
                entries: 0,
                bytes: 0,
                results: VecDeque::new(),
                refusals: VecDeque::new(),
                refusal_entries: 0,
                refusal_bytes: 0,
                in_a_row: 0,
                connected: false,
                tasks: HashMap::new(),
                settlements: Some(settlements),
            }),
            added: Notify::new(),
            removed: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            changes: watch::Sender::new(0),
            settling,
        }))
    }

    /// Room for a message of this size.
    ///
    /// # Errors
    /// [`OutboxFull`].
    pub fn reserve(&self, bytes: usize) -> Result<Place, OutboxFull> {
        self.room(bytes, Kind::Result)
    }

    /// Room for a refusal of this size. Refusals have half of all room.
    ///
    /// # Errors
    /// [`OutboxFull`].
    pub fn reserve_refusal(&self, bytes: usize) -> Result<Place, OutboxFull> {
        self.room(bytes, Kind::Refusal)
    }

    fn room(&self, bytes: usize, kind: Kind) -> Result<Place, OutboxFull> {
        let bounds = self.0.bounds;
        self.with(|state| {
            if kind == Kind::Refusal && state.refusal_entries > 0 {
                let total = state.refusal_bytes.saturating_add(bytes);
                if state.refusal_entries >= bounds.entries / 2 || total > bounds.bytes / 2 {
                    return Err(OutboxFull);
                }
            }
            let total = state.bytes.saturating_add(bytes);
            // One message always fits, however large: otherwise it could never be delivered.
            if state.entries >= bounds.entries || (total > bounds.bytes && state.entries > 0) {
                return Err(OutboxFull);
            }
            state.entries = state.entries.saturating_add(1);
            state.bytes = total;
            if kind == Kind::Refusal {
                state.refusal_entries = state.refusal_entries.saturating_add(1);
                state.refusal_bytes = state.refusal_bytes.saturating_add(bytes);
            }
            Ok(Place {
                outbox: self.clone(),
                bytes,
                kind,
                is_taken: false,
            })
        })
    }

    /// As [`Outbox::reserve`], waiting for room. A task keeps its own place meanwhile, so tasks do not
    /// run ahead of a slow broker.
    pub async fn reserve_waiting(&self, bytes: usize) -> Place {
        loop {
            let removed = self.0.removed.notified();
            match self.reserve(bytes) {
                Ok(place) => return place,
                Err(OutboxFull) => removed.await,
            }
        }
    }

    /// As [`Outbox::reserve_refusal`], waiting for room.
    pub async fn reserve_refusal_waiting(&self, bytes: usize) -> Place {
        let _turn = self.0.turn.lock().await;
        loop {
            let removed = self.0.removed.notified();
            match self.reserve_refusal(bytes) {
                Ok(place) => return place,
                Err(OutboxFull) => removed.await,
            }
        }
    }

    /// Takes in what an earlier process left. It has its entry in the journal, and room whatever the bounds are.
    pub fn recovered(&self, letter: Letter) {
        self.with(|state| {
            state.entries = state.entries.saturating_add(1);
            state.bytes = state.bytes.saturating_add(letter.payload.len());
            state.enqueue(letter, Kind::Result);
        });
        self.changed();
    }

    /// True when nothing waits and nothing is in flight or on its way in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with(|state| state.entries == 0)
    }

    /// Whether an answer to this task waits for the broker's acknowledgement, or one to the invocation that has this
    /// key.
    #[must_use]
    pub fn is_waiting(&self, subject: &str) -> bool {
        self.with(|state| state.tasks.contains_key(subject))
    }

    /// Has an answer to this task or invocation count as waiting, which has no room yet.
    pub fn expect(&self, subject: String) -> Expected {
        self.with(|state| state.expect(&subject));
        Expected {
            outbox: self.clone(),
            subject,
        }
    }

    /// The tasks whose answers wait: results in the order in which they came, then refusals.
    #[must_use]
    pub fn tasks(&self) -> Vec<String> {
        self.with(|state| {
            let tasks = state.results.iter().chain(&state.refusals);
            tasks.map(|waiting| waiting.task.clone()).collect()
        })
    }

    /// Changes whenever what waits does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Ends when no answer to this task waits.
    pub async fn answered(&self, task: &str) {
        loop {
            let removed = self.0.removed.notified();
            if !self.is_waiting(task) {
                return;
            }
            removed.await;
        }
    }

    /// Ends when every message is with the broker.
    pub async fn emptied(&self) {
        loop {
            let removed = self.0.removed.notified();
            if self.is_empty() {
                return;
            }
            removed.await;
        }
    }

    /// Ends when every acknowledgement that came until now has been looked at. A task that is started again as
    /// soon as its result was received follows that result's acknowledgement on the same connection, and must
    /// not be taken for a repetition because somebody else in this process is a moment behind.
    pub async fn settled(&self) {
        let (done, settled) = oneshot::channel();
        if self.0.settling.send(done).await.is_ok() {
            let _ = settled.await;
        }
    }

    /// The requests of [`Outbox::settled`]; whoever empties the outbox takes them once.
    pub(crate) fn settlements(&self) -> Option<Settlements> {
        self.with(|state| state.settlements.take())
    }

    /// Whether what comes in goes out at once.
    pub(super) fn set_connected(&self, connected: bool) {
        self.with(|state| state.connected = connected);
    }

    /// The oldest result that is due and not in flight, or now and then such a refusal; from now on it is in flight.
    pub(crate) fn take(&self, now: Instant) -> Option<Item> {
        self.with(|state| {
            let waiting = state.next(now)?;
            waiting.in_flight = true;
            Some(Item {
                kind: waiting.kind,
                unmarked: waiting.number.is_some() && waiting.on_disk == Answer::Unkept(None),
                id: waiting.id,
                task: waiting.task.clone(),
                about: waiting.about.clone(),
                payload: waiting.payload.clone(),
                attempts: waiting.attempts,
            })
        })
    }

    /// When, after now, the next message is due or of no use any more.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.with(|state| {
            let waiting = state.results.iter().chain(&state.refusals);
            let waiting = waiting.filter(|waiting| !waiting.in_flight);
            let times = waiting.flat_map(|waiting| [Some(waiting.due), waiting.about.until()]);
            times.flatten().filter(|time| *time > now).min()
        })
    }

    /// Drops what is of no use any more, and is not in flight.
    pub(super) fn expire(&self, now: Instant) {
        let dropped = self.with(|state| {
            let waiting = state.results.iter().chain(&state.refusals);
            let is_over = |waiting: &&Waiting| !waiting.in_flight && waiting.is_over(now);
            let over: Vec<u64> = waiting.filter(is_over).map(|waiting| waiting.id).collect();
            for id in &over {
                state.remove(*id);
            }
            over.len()
        });
        if dropped > 0 {
            warn!("{dropped} messages are dropped: nobody waits for them any more");
            self.0.removed.notify_waiters();
            self.0
                .changes
                .send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }

    /// Ends when a message came in since the last time that this ended.
    pub(super) async fn added(&self) {
        self.0.added.notified().await;
    }

    /// The broker has it: forget it.
    pub(crate) fn delivered(&self, id: u64) {
        let number = self.with(|state| state.remove(id));
        if let Some(number) = number {
            self.0.journal.forget(number);
        }
        self.0.removed.notify_waiters();
        self.0
            .changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// It was not acknowledged: it is not in flight any more and will be taken again.
    pub(super) fn returned(&self, id: u64) {
        self.with(|state| {
            if let Some(waiting) = state.find(id) {
                waiting.in_flight = false;
                waiting.attempts = waiting.attempts.saturating_add(1);
            }
        });
    }

    /// Puts on the disk that a result is handed to the broker, before it is: a restart must not call a result lost that
    /// the Manager may have.
    pub(super) async fn mark(&self, id: u64) {
        let known = self.with(|state| {
            let waiting = state.find(id)?;
            waiting.on_disk = Answer::Handed;
            Some((waiting.number, waiting.task.clone()))
        });
        if let Some((number, task)) = known {
            // What the disk does not take is sent all the same.
            let _ = self.0.journal.answer(number, &task, Answer::Handed).await;
        }
    }

    /// Puts another message in the place of one that cannot be delivered.
    pub(super) async fn replace(&self, id: u64, payload: Bytes, on_disk: Answer) {
        let known = self.with(|state| {
            let waiting = state.find(id)?;
            let is_kept = waiting.about == About::Task;
            Some((waiting.number, waiting.task.clone(), is_kept))
        });
        let Some((mut number, task, is_kept)) = known else {
            return;
        };
        if is_kept {
            let answered = self.0.journal.answer(number, &task, on_disk.clone());
            number = answered.await.0;
        }
        self.with(|state| {
            let Some(waiting) = state.find(id) else {
                return;
            };
            let new = payload.len();
            let old = std::mem::replace(&mut waiting.payload, payload).len();
            waiting.number = number;
            waiting.on_disk = on_disk;
            waiting.attempts = 0;
            waiting.in_flight = false;
            if waiting.kind == Kind::Refusal {
                let refusals = state.refusal_bytes.saturating_sub(old);
                state.refusal_bytes = refusals.saturating_add(new);
            }
            state.bytes = state.bytes.saturating_sub(old).saturating_add(new);
        });
    }

    fn changed(&self) {
        self.0.added.notify_one();
        self.0
            .changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // No code that can panic runs under this lock, so a poisoned state is still consistent.
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Place {
    /// Puts an answer on the disk, and then in the queue. `busy` is dropped in the same moment: whatever says
    /// that the task runs does so until the outbox says that its answer waits.
    ///
    /// An answer that cannot be put on the disk now waits all the same; the journal writes it later.
    ///
    /// Whether the disk has it.
    pub async fn put(self, mut letter: Letter, busy: impl Send) -> bool {
        let outbox = self.outbox.clone();
        if letter.about != About::Task {
            self.enqueue(letter, busy);
            return true;
        }
        // One commit does for both, where it goes out as soon as it is there.
        if letter.on_disk == Answer::Unkept(None) && outbox.with(|state| state.connected) {
            letter.on_disk = Answer::Handed;
        }
        let (number, kept) = outbox
            .0
            .journal
            .answer(letter.number, &letter.task, letter.on_disk.clone())
            .await;
        let is_kept = kept.is_ok();
        if let Err(trouble) = kept {
            warn!(
                "The answer to task {} is in memory only: {trouble}",
                letter.task
            );
        }
        letter.number = number;
        self.enqueue(letter, busy);
        is_kept
    }

    /// Puts an answer in the queue.
    fn enqueue(mut self, letter: Letter, busy: impl Send) {
        let outbox = self.outbox.clone();
        outbox.with(|state| {
            self.is_taken = true;
            state.bytes = state
                .bytes
                .saturating_sub(self.bytes)
                .saturating_add(letter.payload.len());
            if self.kind == Kind::Refusal {
                state.refusal_bytes = state
                    .refusal_bytes
                    .saturating_sub(self.bytes)
                    .saturating_add(letter.payload.len());
            }
            state.enqueue(letter, self.kind);
            drop(busy);
        });
        outbox.changed();
        // It may have taken the place of another one.
        outbox.0.removed.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        self.outbox.with(|state| {
            state.entries = state.entries.saturating_sub(1);
            state.bytes = state.bytes.saturating_sub(self.bytes);
            if self.kind == Kind::Refusal {
                state.refusal_entries = state.refusal_entries.saturating_sub(1);
                state.refusal_bytes = state.refusal_bytes.saturating_sub(self.bytes);
            }
        });
        self.outbox.0.removed.notify_waiters();
    }
}

impl State {
    fn enqueue(&mut self, letter: Letter, kind: Kind) {
        if letter.about == About::Task {
            self.end_started(&letter.task);
        }
        self.last_id = self.last_id.saturating_add(1);
        self.expect(&letter.subject());
        let queue = match kind {
            Kind::Result => &mut self.results,
            Kind::Refusal => &mut self.refusals,
        };
        queue.push_back(Waiting {
            kind,
            on_disk: letter.on_disk,
            id: self.last_id,
            task: letter.task,
            about: letter.about,
            payload: letter.payload,
            number: letter.number,
            due: letter.not_before.min(Instant::now() + LONGEST_WAIT),
            in_flight: false,
            attempts: 0,
            is_over: false,
        });
    }

    /// Drops the word that this task runs, because there is a later one.
    fn end_started(&mut self, task: &str) {
        let mut waiting = Vec::new();
        for started in self
            .results
            .iter_mut()
            .filter(|waiting| waiting.about == About::Started && waiting.task == task)
        {
            started.is_over = true;
            if !started.in_flight {
                waiting.push(started.id);
            }
        }
        for id in waiting {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Number> {
        let taken = [&mut self.results, &mut self.refusals]
            .into_iter()
            .find_map(|queue| {
                let index = queue.iter().position(|waiting| waiting.id == id)?;
                queue.remove(index)
            });
        let done = taken?;
        if done.kind == Kind::Refusal {
            self.refusal_entries = self.refusal_entries.saturating_sub(1);
            self.refusal_bytes = self.refusal_bytes.saturating_sub(done.payload.len());
        }
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(done.payload.len());
        self.settle(&done.about.subject(&done.task));
        done.number
    }

    /// One more answer to this waits.
    fn expect(&mut self, subject: &str) {
        let waiting = self.tasks.entry(subject.to_owned()).or_default();
        *waiting = waiting.saturating_add(1);
    }

    /// One less does.
    fn settle(&mut self, subject: &str) {
        if let Some(waiting) = self.tasks.get_mut(subject) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.tasks.remove(subject);
            }
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Waiting> {
        let mut waiting = self.results.iter_mut().chain(&mut self.refusals);
        waiting.find(|waiting| waiting.id == id)
    }

    /// The next message to go out.
    fn next(&mut self, now: Instant) -> Option<&mut Waiting> {
        let ready = |queue: &VecDeque<Waiting>| {
            queue
                .iter()
                .position(|waiting| !waiting.in_flight && waiting.due <= now)
        };
        let (result, refusal) = (ready(&self.results), ready(&self.refusals));
        match (result, refusal) {
            (Some(result), None) => self.results.get_mut(result),
            (Some(result), Some(_)) if self.in_a_row < RESULTS_IN_A_ROW => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.results.get_mut(result)
            }
            (_, Some(refusal)) => {
                self.in_a_row = 0;
                self.refusals.get_mut(refusal)
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests;
