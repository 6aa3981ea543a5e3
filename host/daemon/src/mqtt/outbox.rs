//! Where results wait until the broker has them.
//!
//! A task is over when its result is with the broker, not when it has been handed to a socket: a clean
//! session is dropped with its connection, and everything in flight with it. So a result stays in the
//! outbox until the broker acknowledged it, and goes out again on the next connection. The Manager
//! overwrites a result by an equal one, so a repeated message does no harm.
//!
//! [`MemoryOutbox`] loses its contents with the process. [`Outbox`] is a trait so that one on disk can
//! take its place; such an outbox may only hold what this one holds, which for an encrypted task is a
//! JWE, ids and codes.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use thiserror::Error;
use tokio::time::Instant;

use crate::message::ResultMessage;

/// The outbox takes no more.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the outbox is full: the broker takes results more slowly than tasks make them")]
pub struct OutboxFull;

/// One result that is to go out.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Names the entry towards the outbox.
    pub ticket: u64,
    /// The result.
    pub message: ResultMessage,
    /// How often it was sent without an acknowledgement.
    pub attempts: u32,
}

/// Where results wait. Methods do not block for I/O longer than a disk takes.
pub trait Outbox: Send + Sync + 'static {
    /// Keeps a result, to be sent no sooner than `not_before`.
    ///
    /// # Errors
    /// [`OutboxFull`]; the result was not taken.
    fn put(&self, message: ResultMessage, not_before: Instant) -> Result<(), OutboxFull>;

    /// The oldest result that is due and not in flight; from now on it is in flight.
    fn take(&self, now: Instant) -> Option<Entry>;

    /// When the next result that waits for its time is due.
    fn next_due(&self) -> Option<Instant>;

    /// The broker has it: forget it.
    fn delivered(&self, ticket: u64);

    /// It was not acknowledged: it is not in flight any more and will be taken again.
    fn returned(&self, ticket: u64);

    /// Puts another message in the place of one that cannot be delivered.
    fn replace(&self, ticket: u64, message: ResultMessage);

    /// True when nothing waits and nothing is in flight.
    fn is_empty(&self) -> bool;
}

/// An outbox in memory, bounded in number and bytes.
#[derive(Debug)]
pub struct MemoryOutbox {
    state: Mutex<State>,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    next_ticket: u64,
    bytes: usize,
    entries: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    not_before: Instant,
    in_flight: bool,
}

impl MemoryOutbox {
    /// An empty outbox for at most so many results of so many bytes together.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            max_entries,
            max_bytes,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // No code that can panic runs under this lock, so a poisoned state is still consistent.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn size(message: &ResultMessage) -> usize {
    message.results.len() + message.error.as_ref().map_or(0, String::len) + message.task_id.len()
}

impl Outbox for MemoryOutbox {
    fn put(&self, message: ResultMessage, not_before: Instant) -> Result<(), OutboxFull> {
        self.with(|state| {
            let bytes = state.bytes.saturating_add(size(&message));
            // One result always fits, however large: otherwise it could never be delivered.
            let full = state.entries.len() >= self.max_entries
                || (bytes > self.max_bytes && !state.entries.is_empty());
            if full {
                return Err(OutboxFull);
            }
            state.bytes = bytes;
            state.next_ticket += 1;
            let entry = Entry {
                ticket: state.next_ticket,
                message,
                attempts: 0,
            };
            state.entries.push_back(Waiting {
                entry,
                not_before,
                in_flight: false,
            });
            Ok(())
        })
    }

    fn take(&self, now: Instant) -> Option<Entry> {
        self.with(|state| {
            let waiting = state
                .entries
                .iter_mut()
                .find(|waiting| !waiting.in_flight && waiting.not_before <= now)?;
            waiting.in_flight = true;
            Some(waiting.entry.clone())
        })
    }

    fn next_due(&self) -> Option<Instant> {
        self.with(|state| {
            let waiting = state.entries.iter().filter(|waiting| !waiting.in_flight);
            waiting.map(|waiting| waiting.not_before).min()
        })
    }

    fn delivered(&self, ticket: u64) {
        self.with(|state| {
            if let Some(index) = state.position(ticket)
                && let Some(done) = state.entries.remove(index)
            {
                state.bytes = state.bytes.saturating_sub(size(&done.entry.message));
            }
        });
    }

    fn returned(&self, ticket: u64) {
        self.with(|state| {
            if let Some(waiting) = state.find(ticket) {
                waiting.in_flight = false;
                waiting.entry.attempts = waiting.entry.attempts.saturating_add(1);
            }
        });
    }

    fn replace(&self, ticket: u64, message: ResultMessage) {
        self.with(|state| {
            let new = size(&message);
            if let Some(waiting) = state.find(ticket) {
                let old = size(&waiting.entry.message);
                waiting.entry.message = message;
                waiting.entry.attempts = 0;
                waiting.in_flight = false;
                state.bytes = state.bytes.saturating_sub(old).saturating_add(new);
            }
        });
    }

    fn is_empty(&self) -> bool {
        self.with(|state| state.entries.is_empty())
    }
}

impl State {
    fn position(&self, ticket: u64) -> Option<usize> {
        self.entries
            .iter()
            .position(|waiting| waiting.entry.ticket == ticket)
    }

    fn find(&mut self, ticket: u64) -> Option<&mut Waiting> {
        self.entries
            .iter_mut()
            .find(|waiting| waiting.entry.ticket == ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(id: &str, results: &str) -> ResultMessage {
        ResultMessage {
            task_id: id.into(),
            proplet_id: "us".into(),
            results: results.into(),
            error: None,
        }
    }

    #[tokio::test]
    async fn a_result_stays_until_it_is_delivered() {
        let outbox = MemoryOutbox::new(10, 1000);
        let now = Instant::now();
        outbox.put(message("1", "a"), now).unwrap();
        outbox.put(message("2", "b"), now).unwrap();
        let first = outbox.take(now).unwrap();
        assert_eq!((first.message.task_id.as_str(), first.attempts), ("1", 0));
        outbox.returned(first.ticket);
        let again = outbox.take(now).unwrap();
        assert_eq!((again.message.task_id.as_str(), again.attempts), ("1", 1));
        outbox.delivered(again.ticket);
        let second = outbox.take(now).unwrap();
        assert_eq!(second.message.task_id, "2");
        assert!(outbox.take(now).is_none());
        assert!(!outbox.is_empty());
        outbox.delivered(second.ticket);
        assert!(outbox.is_empty());
    }

    #[tokio::test]
    async fn a_result_waits_for_its_time() {
        let outbox = MemoryOutbox::new(10, 1000);
        let now = Instant::now();
        let later = now + Duration::from_millis(50);
        outbox.put(message("late", ""), later).unwrap();
        outbox.put(message("soon", ""), now).unwrap();
        assert_eq!(outbox.take(now).unwrap().message.task_id, "soon");
        assert!(outbox.take(now).is_none());
        assert_eq!(outbox.next_due(), Some(later));
        assert_eq!(outbox.take(later).unwrap().message.task_id, "late");
        assert_eq!(outbox.next_due(), None);
    }

    #[tokio::test]
    async fn number_and_bytes_are_bounded() {
        let now = Instant::now();
        let few = MemoryOutbox::new(1, 1000);
        few.put(message("1", ""), now).unwrap();
        assert_eq!(few.put(message("2", ""), now), Err(OutboxFull));
        let small = MemoryOutbox::new(10, 10);
        small.put(message("1", &"x".repeat(100)), now).unwrap();
        assert_eq!(small.put(message("2", ""), now), Err(OutboxFull));
        let large = small.take(now).unwrap();
        small.delivered(large.ticket);
        small.put(message("2", ""), now).unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_delivered_can_be_replaced() {
        let outbox = MemoryOutbox::new(10, 1000);
        let now = Instant::now();
        outbox.put(message("1", "large"), now).unwrap();
        let entry = outbox.take(now).unwrap();
        outbox.replace(entry.ticket, message("1", ""));
        assert_eq!(outbox.take(now).unwrap().message.results, "");
    }
}
