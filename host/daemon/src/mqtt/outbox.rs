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

mod deferred;
mod letter;
mod place;
mod queue;
mod rooms;
mod sizes;
mod turns;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use proplet_outbox::Journal;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};
use tracing::warn;

pub(super) use self::sizes::SMALL_BYTES;
pub use self::{
    letter::{About, Item, Kind, Letter},
    place::{Bounds, OutboxFull, Place},
    queue::Returned,
};
use self::{
    queue::{State, Waiting},
    rooms::Rooms,
};
pub use crate::places::Owner;
pub use proplet_outbox::Answer;

/// Messages that wait for their time and for the broker. Clones share one outbox.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    journal: Journal,
    state: Mutex<State>,
    added: Notify,
    removed: Notify,
    /// Rises with every change of what waits.
    changes: watch::Sender<u64>,
    settling: mpsc::Sender<oneshot::Sender<()>>,
}

/// Requests to look at all acknowledgements that have come: see [`Outbox::settled`].
pub(super) type Settlements = mpsc::Receiver<oneshot::Sender<()>>;

/// An answer that is on its way into the outbox.
pub struct Expected {
    outbox: Outbox,
    subject: String,
    /// It is in the queue, and counts there.
    waits: bool,
}

impl Expected {
    /// Of an answer that counts as waiting already.
    fn new(outbox: &Outbox, subject: String) -> Self {
        Self {
            outbox: outbox.clone(),
            subject,
            waits: false,
        }
    }

    /// It is in the queue now, and counts there.
    fn waits(mut self, state: &mut State) {
        state.settle(&self.subject);
        self.waits = true;
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if self.waits {
            return;
        }
        self.outbox.with(|state| state.settle(&self.subject));
        self.outbox.0.removed.notify_waiters();
    }
}

impl Outbox {
    /// An empty outbox over a journal.
    #[must_use]
    pub fn new(journal: Journal, bounds: Bounds) -> Self {
        let (settling, settlements) = mpsc::channel(1);
        Self(Arc::new(Shared {
            journal,
            state: Mutex::new(State::new(Rooms::new(bounds), settlements)),
            added: Notify::new(),
            removed: Notify::new(),
            changes: watch::Sender::new(0),
            settling,
        }))
    }

    /// Takes in what an earlier process left. It has its entry in the journal, and room whatever the bounds are.
    pub fn recovered(&self, letter: Letter) {
        self.with(|state| {
            state.rooms.enter(Kind::Result, letter.payload.len());
            state.enqueue(letter, Kind::Result);
        });
        self.changed();
    }

    /// True when nothing waits and nothing is in flight or on its way in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with(|state| state.rooms.entries() == 0)
    }

    /// How many messages wait or are in flight.
    pub(super) fn len(&self) -> usize {
        self.with(|state| state.messages().count())
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
        Expected::new(self, subject)
    }

    /// The tasks whose answers wait: results in the order in which they came, then refusals.
    #[must_use]
    pub fn tasks(&self) -> Vec<String> {
        self.with(|state| {
            let of_kind = |kind| {
                let messages = state.messages().filter(move |message| message.kind == kind);
                messages.map(|message| message.task.clone())
            };
            of_kind(Kind::Result)
                .chain(of_kind(Kind::Refusal))
                .collect()
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

    /// The next result that is due and not in flight, or now and then such a refusal; from now on it is in flight. Of each
    /// owner it is the one that was due first, and owners take turns.
    pub(crate) fn take(&self, now: Instant) -> Option<Item> {
        self.with(|state| state.next(now).map(Item::of))
    }

    /// Whether some message is to be tried alone.
    pub(super) fn has_suspects(&self) -> bool {
        self.with(|state| state.has_suspects())
    }

    /// The next message that is to be tried alone; from now on it is in flight.
    pub(super) fn take_suspect(&self) -> Option<Item> {
        self.with(|state| state.next_suspect().map(Item::of))
    }

    /// When, after now, the next message is due or of no use any more.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.with(|state| state.next_time(now))
    }

    /// Drops what is of no use any more, and is not in flight.
    pub(super) fn expire(&self, now: Instant) {
        let in_queue = self.with(|state| state.expire(now));
        let dropped = in_queue.saturating_add(self.expire_deferred(now));
        if dropped > 0 {
            warn!("{dropped} messages are dropped: nobody waits for them any more");
            self.left();
            self.note_change();
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
        self.left();
        self.note_change();
    }

    /// It went through alone.
    pub(super) fn passed(&self, id: u64) {
        self.with(|state| state.passed(id));
    }

    /// Whether a message that was not larger was given up, because the broker dropped the connection at it.
    pub(super) fn is_given_up(&self, size: usize) -> bool {
        self.with(|state| state.is_given_up(size))
    }

    /// It was not acknowledged: it is not in flight any more and will be taken again.
    pub(super) fn returned(&self, id: u64, how: Returned) {
        self.with(|state| state.returned(id, how));
        self.left();
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
        self.with(|state| state.replace(id, number, payload, on_disk));
        self.left();
    }

    fn changed(&self) {
        self.0.added.notify_one();
        self.note_change();
    }

    /// Something left: others may have its room, and whoever waits for that may have seen it.
    fn left(&self) {
        self.hand_out();
        self.0.removed.notify_waiters();
    }

    fn note_change(&self) {
        self.0
            .changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // No code that can panic runs under this lock, so a poisoned state is still consistent.
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Item {
    fn of(waiting: &Waiting) -> Self {
        Self {
            kind: waiting.kind,
            unmarked: waiting.number.is_some() && waiting.on_disk == Answer::Unkept(None),
            id: waiting.id,
            task: waiting.task.clone(),
            about: waiting.about.clone(),
            payload: waiting.payload.clone(),
            attempts: waiting.attempts,
        }
    }
}

#[cfg(test)]
mod tests;
