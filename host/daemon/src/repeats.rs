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
//!   The ids of tasks that an earlier process accepted count too.
//!
//! A task that runs or waits, or whose answer the broker has not acknowledged, is not started a second time
//! either, whatever the message says: the answer that is on its way is the answer to both.

use std::collections::VecDeque;

use crate::mqtt::Received;

/// So many starts are remembered. A broker repeats what is not acknowledged within seconds.
const REMEMBERED: usize = 1024;

/// The ids of the latest starts.
#[derive(Debug, Default)]
pub(super) struct Repeats(VecDeque<String>);

impl Repeats {
    /// Remembers a start.
    pub(super) fn remember(&mut self, id: &str) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(id.to_owned());
    }

    /// Whether this start of this task is one that was taken before.
    pub(super) fn is_repeated(&self, message: &Received, id: &str) -> bool {
        message.duplicate && self.0.iter().any(|known| known == id)
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
        let mut repeats = Repeats::default();
        assert!(!repeats.is_repeated(&received(true), "a"));
        repeats.remember("a");
        assert!(repeats.is_repeated(&received(true), "a"));
        assert!(!repeats.is_repeated(&received(false), "a"));
        assert!(!repeats.is_repeated(&received(true), "b"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut repeats = Repeats::default();
        for number in 0..=REMEMBERED {
            repeats.remember(&number.to_string());
        }
        assert_eq!(repeats.0.len(), REMEMBERED);
        assert!(!repeats.is_repeated(&received(true), "0"));
        assert!(repeats.is_repeated(&received(true), "1"));
    }
}
