//! What waits for the receiver: bounded, and exact about what is not in it.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

/// What waits.
#[derive(Debug)]
pub(crate) enum Item {
    /// A line.
    Line {
        /// Its place among all lines of the boot, from 0.
        number: u64,
        line: String,
    },
    /// Lines that found no room.
    Missed(Missed),
    /// Tell when everything before is handed on.
    Flush(oneshot::Sender<()>),
}

impl Item {
    /// How many lines it stands for.
    pub(crate) fn lines(&self) -> u64 {
        match self {
            Self::Line { .. } => 1,
            Self::Missed(missed) => missed.count(),
            Self::Flush(_) => 0,
        }
    }
}

/// Lines that are not exported, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed {
    pub first: u64,
    pub last: u64,
}

impl Missed {
    pub(crate) fn count(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// The queue, between those who make lines and the thread that hands them on.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    /// The number of the next line.
    next: u64,
    /// Lines that were left out so far.
    missed: u64,
    /// Whether lines are left out until half of the room is free again: one gap, and not one for each line that left.
    is_full: bool,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            max_bytes,
        }
    }

    /// Takes a line, or counts it. Waits for nobody.
    pub(crate) fn put(&self, line: &str) {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next = number.saturating_add(1);
        let bytes = waiting.bytes.saturating_add(line.len());
        let room = match waiting.is_full {
            true => self.max_bytes / 2,
            false => self.max_bytes,
        };
        waiting.is_full = bytes > room;
        if waiting.is_full {
            waiting.miss(number);
        } else {
            waiting.bytes = bytes;
            let line = line.to_owned();
            waiting.items.push_back(Item::Line { number, line });
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Ends when all that waits now is handed on.
    pub(crate) fn flush(&self) -> oneshot::Receiver<()> {
        let (sender, flushed) = oneshot::channel();
        self.lock().items.push_back(Item::Flush(sender));
        self.changed.notify_one();
        flushed
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits for what comes next; none once that is nothing.
    pub(crate) fn next(&self) -> Option<Item> {
        let waiting = self.lock();
        let mut waiting = self
            .changed
            .wait_while(waiting, |waiting| {
                waiting.items.is_empty() && !waiting.is_closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        let item = waiting.items.pop_front()?;
        if let Item::Line { line, .. } = &item {
            waiting.bytes = waiting.bytes.saturating_sub(line.len());
        }
        Some(item)
    }

    /// Waits so long, and not longer than until this is closed. Whether it is not.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let (waiting, _) = self
            .changed
            .wait_timeout_while(self.lock(), time, |waiting| !waiting.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        !waiting.is_closed
    }

    /// How many lines were left out so far.
    pub(crate) fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// A line that was taken from here is left out after all.
    pub(crate) fn count_missed(&self) {
        let mut waiting = self.lock();
        waiting.missed = waiting.missed.saturating_add(1);
    }

    /// How many lines wait, or are missing and the export does not say it yet.
    pub(crate) fn left(&self) -> u64 {
        self.lock().items.iter().map(Item::lines).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// What is missing stands in the queue at the place where it is missing.
    fn miss(&mut self, number: u64) {
        self.missed = self.missed.saturating_add(1);
        match self.items.back_mut() {
            Some(Item::Missed(missed)) => missed.last = number,
            _ => self.items.push_back(Item::Missed(Missed {
                first: number,
                last: number,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(item: Option<Item>) -> String {
        match item {
            Some(Item::Line { number, line }) => format!("{number} {line}"),
            Some(Item::Missed(missed)) => format!("{}-{}", missed.first, missed.last),
            Some(Item::Flush(_)) => "flush".to_owned(),
            None => "end".to_owned(),
        }
    }

    #[test]
    fn what_finds_no_room_is_told_where_it_is_missing() {
        let queue = Queue::new(10);
        for line in ["aaaa", "bbbb", "cccc", "d"] {
            queue.put(line);
        }
        // The last would fit, and is left out with the one before it: half of the room is not free.
        assert_eq!((queue.missed(), queue.left()), (2, 4));
        assert_eq!(told(queue.next()), "0 aaaa");
        queue.put("ee");
        assert_eq!(told(queue.next()), "1 bbbb");
        queue.put("ffff");
        queue.put("gggg");
        for expected in ["2-4", "5 ffff", "6 gggg"] {
            assert_eq!(told(queue.next()), expected);
        }
        assert_eq!(queue.missed(), 3);
        queue.close();
        assert_eq!(told(queue.next()), "end");
    }

    #[test]
    fn a_flush_stands_between_what_is_missing_before_it_and_behind() {
        let queue = Queue::new(0);
        queue.put("a");
        let mut flushed = queue.flush();
        queue.put("b");
        for expected in ["0-0", "flush", "1-1"] {
            assert_eq!(told(queue.next()), expected);
        }
        // It was dropped, as by a thread that ended.
        flushed.try_recv().unwrap_err();
    }

    #[test]
    fn what_waits_when_it_is_closed_still_comes_and_nobody_rests() {
        let queue = Queue::new(100);
        queue.put("a");
        assert!(queue.rest(Duration::ZERO));
        queue.close();
        assert!(!queue.rest(Duration::from_secs(3600)));
        assert_eq!(told(queue.next()), "0 a");
        assert_eq!(told(queue.next()), "end");
    }
}
