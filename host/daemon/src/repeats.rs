//! Commands that arrive more than once.
//!
//! The Manager starts a task again under its old id, so an id that was seen before says nothing. What the
//! protocol says does:
//!
//! - **Retained** messages are copies that the broker keeps and gives to everybody who subscribes, which
//!   this proplet does after every connection. The Manager retains nothing. Such a start was stored at an
//!   unknown time and may have been run, here or by an earlier process, and answered; running it again
//!   would repeat it with every reconnect, and answering it with an error would overwrite its result in the
//!   Manager's books. A retained stop would end a task that was started again since. So commands with that
//!   flag are dropped, without an answer, and the log says how to remove them. The copy that goes to those
//!   who are connected while it is published does not carry the flag and counts like any other.
//! - **DUP** marks a message that the broker sends once more because it missed the acknowledgement. Some
//!   brokers do that on a connection that is merely slow. Such a start is dropped when this process has
//!   started the task already.
//!
//!   The ids of tasks that an earlier process accepted count too. Those of starts that were refused do not: a copy
//!   of such a start is looked at like any other, so that it is answered again, or runs.
//!
//! A task that runs or waits, or whose answer the broker has not acknowledged, is not started a second time
//! either, whatever the message says: the answer that is on its way is the answer to both.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::mqtt::Received;

/// So many starts are remembered. A broker repeats what is not acknowledged within seconds.
const REMEMBERED: usize = 1024;

/// The ids of the latest starts that were taken. Clones share them.
#[derive(Debug, Default, Clone)]
pub(super) struct Repeats(Arc<Mutex<VecDeque<String>>>);

impl Repeats {
    /// Remembers a start.
    pub(super) fn remember(&self, id: &str) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.pop_front();
        }
        known.push_back(id.to_owned());
    }

    /// Forgets a start: it was refused after all. Earlier ones of the same id stay.
    pub(super) fn forget(&self, id: &str) {
        let mut known = self.lock();
        if let Some(index) = known.iter().rposition(|known| known == id) {
            known.remove(index);
        }
    }

    /// Whether this start of this task is one that was taken before.
    pub(super) fn is_repeated(&self, message: &Received, id: &str) -> bool {
        message.duplicate && self.lock().iter().any(|known| known == id)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn received(duplicate: bool) -> Received {
        Received {
            topic: String::new(),
            payload: bytes::Bytes::new(),
            retained: false,
            duplicate,
            receipt: None,
            at: Instant::now(),
        }
    }

    #[test]
    fn only_a_marked_copy_of_a_known_start_is_one() {
        let repeats = Repeats::default();
        assert!(!repeats.is_repeated(&received(true), "a"));
        repeats.remember("a");
        assert!(repeats.is_repeated(&received(true), "a"));
        assert!(!repeats.is_repeated(&received(false), "a"));
        assert!(!repeats.is_repeated(&received(true), "b"));
    }

    #[test]
    fn a_start_that_was_refused_is_no_known_one() {
        let repeats = Repeats::default();
        repeats.remember("a");
        repeats.remember("a");
        repeats.clone().forget("a");
        assert!(repeats.is_repeated(&received(true), "a"));
        repeats.forget("a");
        repeats.forget("a");
        assert!(!repeats.is_repeated(&received(true), "a"));
    }

    #[test]
    fn memory_is_bounded() {
        let repeats = Repeats::default();
        for number in 0..=REMEMBERED {
            repeats.remember(&number.to_string());
        }
        assert_eq!(repeats.lock().len(), REMEMBERED);
        assert!(!repeats.is_repeated(&received(true), "0"));
        assert!(repeats.is_repeated(&received(true), "1"));
    }
}
