//! Where results wait until the broker has them.
//!
//! A task is over when its result is with the broker, not when it has been handed to a socket: a clean
//! session is dropped with its connection, and everything in flight with it. So a result stays in the
//! outbox until the broker acknowledged it, and goes out again on the next connection. The Manager
//! overwrites a result by an equal one, so a repeated message does no harm.
//!
//! [`Outbox`] decides what goes out when. Its messages, which are bytes from the moment they come in, lie
//! in a [`Store`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use thiserror::Error;
use tokio::{sync::Notify, time::Instant};

use super::store::{Record, Store};

/// The longest time that a record from an earlier run still waits, whatever the clock was then.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

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

/// A message that is in flight.
#[derive(Debug, Clone)]
pub struct Item {
    /// Names it towards the outbox.
    pub id: u64,
    /// The task that it is about.
    pub task: String,
    /// The message.
    pub payload: Bytes,
    /// How often it was sent without an acknowledgement.
    pub attempts: u32,
}

/// Messages that wait for their time and for the broker. Clones share one outbox.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    bounds: Bounds,
    state: Mutex<State>,
    added: Notify,
    removed: Notify,
}

struct State {
    store: Box<dyn Store>,
    last_id: u64,
    bytes: usize,
    queue: VecDeque<Waiting>,
}

/// What the schedule knows of a record.
struct Waiting {
    id: u64,
    size: usize,
    due: Instant,
    in_flight: bool,
    attempts: u32,
}

impl Outbox {
    /// An outbox over a store, with whatever is in the store.
    pub fn new(mut store: impl Store, bounds: Bounds) -> Self {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let records = store.load();
        let mut state = State {
            store: Box::new(store),
            last_id: 0,
            bytes: 0,
            queue: VecDeque::new(),
        };
        for record in records {
            let wait = record.not_before.duration_since(clock).unwrap_or_default();
            state.enqueue(
                record.id,
                record.payload.len(),
                now + wait.min(LONGEST_WAIT),
            );
        }
        Self(Arc::new(Shared {
            bounds,
            state: Mutex::new(state),
            added: Notify::new(),
            removed: Notify::new(),
        }))
    }

    /// Takes a message in, to be sent no sooner than `not_before`.
    ///
    /// # Errors
    /// [`OutboxFull`]; the message was not taken.
    pub fn submit(
        &self,
        task: &str,
        payload: Bytes,
        not_before: Instant,
    ) -> Result<(), OutboxFull> {
        let bounds = self.0.bounds;
        self.with(|state| {
            let bytes = state.bytes.saturating_add(payload.len());
            // One message always fits, however large: otherwise it could never be delivered.
            let full = state.queue.len() >= bounds.entries
                || (bytes > bounds.bytes && !state.queue.is_empty());
            if full {
                return Err(OutboxFull);
            }
            let id = state.last_id.saturating_add(1);
            state.enqueue(id, payload.len(), not_before);
            state.store.put(Record {
                id,
                task: task.to_owned(),
                payload,
                not_before: SystemTime::now() + not_before.duration_since(Instant::now()),
            });
            Ok(())
        })?;
        self.0.added.notify_one();
        Ok(())
    }

    /// As [`Outbox::submit`], waiting for a place. A task keeps its own place meanwhile, so tasks do not
    /// run ahead of a slow broker.
    pub async fn submit_waiting(&self, task: &str, payload: Bytes, not_before: Instant) {
        loop {
            let removed = self.0.removed.notified();
            match self.submit(task, payload.clone(), not_before) {
                Ok(()) => return,
                Err(OutboxFull) => removed.await,
            }
        }
    }

    /// True when nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with(|state| state.queue.is_empty())
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

    /// The oldest message that is due and not in flight; from now on it is in flight.
    pub(super) fn take(&self, now: Instant) -> Option<Item> {
        self.with(|state| {
            let waiting = state
                .queue
                .iter_mut()
                .find(|waiting| !waiting.in_flight && waiting.due <= now)?;
            let Record { task, payload, .. } = state.store.get(waiting.id)?;
            waiting.in_flight = true;
            Some(Item {
                id: waiting.id,
                task,
                payload,
                attempts: waiting.attempts,
            })
        })
    }

    /// When the next message that waits for its time is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.with(|state| {
            let waiting = state.queue.iter().filter(|waiting| !waiting.in_flight);
            waiting.map(|waiting| waiting.due).min()
        })
    }

    /// Ends when a message came in since the last time that this ended.
    pub(super) async fn added(&self) {
        self.0.added.notified().await;
    }

    /// The broker has it: forget it.
    pub(super) fn delivered(&self, id: u64) {
        self.with(|state| {
            if let Some(index) = state.queue.iter().position(|waiting| waiting.id == id)
                && let Some(done) = state.queue.remove(index)
            {
                state.bytes = state.bytes.saturating_sub(done.size);
                state.store.remove(id);
            }
        });
        self.0.removed.notify_waiters();
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

    /// Puts another message in the place of one that cannot be delivered.
    pub(super) fn replace(&self, id: u64, payload: Bytes) {
        self.with(|state| {
            let size = payload.len();
            let Some(waiting) = state.find(id) else {
                return;
            };
            let old = std::mem::replace(&mut waiting.size, size);
            waiting.attempts = 0;
            waiting.in_flight = false;
            state.bytes = state.bytes.saturating_sub(old).saturating_add(size);
            if let Some(record) = state.store.get(id) {
                state.store.put(Record { payload, ..record });
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // No code that can panic runs under this lock, so a poisoned state is still consistent.
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn enqueue(&mut self, id: u64, size: usize, due: Instant) {
        self.last_id = self.last_id.max(id);
        self.bytes = self.bytes.saturating_add(size);
        self.queue.push_back(Waiting {
            id,
            size,
            due,
            in_flight: false,
            attempts: 0,
        });
    }

    fn find(&mut self, id: u64) -> Option<&mut Waiting> {
        self.queue.iter_mut().find(|waiting| waiting.id == id)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::mqtt::store::MemoryStore;

    fn outbox(entries: usize, bytes: usize) -> Outbox {
        Outbox::new(MemoryStore::default(), Bounds { entries, bytes })
    }

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_stays_until_it_is_delivered() {
        let outbox = outbox(10, 1000);
        let now = Instant::now();
        outbox.submit("1", bytes("a"), now).unwrap();
        outbox.submit("2", bytes("b"), now).unwrap();
        let first = outbox.take(now).unwrap();
        assert_eq!((first.task.as_str(), first.attempts), ("1", 0));
        outbox.returned(first.id);
        let again = outbox.take(now).unwrap();
        assert_eq!((again.task.as_str(), again.attempts), ("1", 1));
        assert_eq!(again.payload, first.payload);
        outbox.delivered(again.id);
        let second = outbox.take(now).unwrap();
        assert_eq!(second.task, "2");
        assert!(outbox.take(now).is_none());
        assert!(!outbox.is_empty());
        outbox.delivered(second.id);
        assert!(outbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_for_its_time() {
        let outbox = outbox(10, 1000);
        let now = Instant::now();
        let later = now + Duration::from_millis(50);
        outbox.submit("late", bytes(""), later).unwrap();
        outbox.submit("soon", bytes(""), now).unwrap();
        assert_eq!(outbox.take(now).unwrap().task, "soon");
        assert!(outbox.take(now).is_none());
        assert_eq!(outbox.next_due(), Some(later));
        assert_eq!(outbox.take(later).unwrap().task, "late");
        assert_eq!(outbox.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn number_and_bytes_are_bounded() {
        let now = Instant::now();
        let few = outbox(1, 1000);
        few.submit("1", bytes(""), now).unwrap();
        assert_eq!(few.submit("2", bytes(""), now), Err(OutboxFull));
        let small = outbox(10, 10);
        small.submit("1", bytes(&"x".repeat(100)), now).unwrap();
        assert_eq!(small.submit("2", bytes("x"), now), Err(OutboxFull));
        let large = small.take(now).unwrap();
        small.delivered(large.id);
        small.submit("2", bytes("x"), now).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_gets_it() {
        let outbox = outbox(1, 1000);
        let now = Instant::now();
        outbox.submit("1", bytes(""), now).unwrap();
        let waiting = outbox.submit_waiting("2", bytes("b"), now);
        tokio::pin!(waiting);
        let long = Duration::from_secs(3600);
        assert!(timeout(long, &mut waiting).await.is_err());
        let first = outbox.take(now).unwrap();
        outbox.delivered(first.id);
        timeout(long, waiting).await.unwrap();
        let second = outbox.take(now).unwrap();
        let emptied = outbox.emptied();
        tokio::pin!(emptied);
        assert!(timeout(long, &mut emptied).await.is_err());
        outbox.delivered(second.id);
        timeout(long, emptied).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_delivered_can_be_replaced() {
        let outbox = outbox(10, 10);
        let now = Instant::now();
        outbox.submit("1", bytes("0123456789"), now).unwrap();
        let item = outbox.take(now).unwrap();
        outbox.returned(item.id);
        let item = outbox.take(now).unwrap();
        outbox.replace(item.id, bytes("sorry"));
        let other = outbox.take(now).unwrap();
        assert_eq!((other.task.as_str(), other.attempts), ("1", 0));
        assert_eq!(other.payload, "sorry");
        // The room that it took is free.
        outbox.submit("2", bytes("01234"), now).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_run_left_goes_out_first() {
        let mut store = MemoryStore::default();
        let clock = SystemTime::now();
        for (id, wait) in [(7, Duration::ZERO), (9, Duration::from_secs(1_000_000))] {
            store.put(Record {
                id,
                task: id.to_string(),
                payload: bytes("left"),
                not_before: clock + wait,
            });
        }
        let bounds = Bounds {
            entries: 10,
            bytes: 1000,
        };
        let outbox = Outbox::new(store, bounds);
        let now = Instant::now();
        outbox.submit("new", bytes(""), now).unwrap();
        assert_eq!(outbox.take(now).unwrap().task, "7");
        let new = outbox.take(now).unwrap();
        assert_eq!((new.task.as_str(), new.id), ("new", 10));
        // A clock that was wrong then holds nothing back for long.
        assert_eq!(outbox.take(now + LONGEST_WAIT).unwrap().task, "9");
    }
}
