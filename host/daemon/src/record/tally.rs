//! Counting what anybody can cause as often as they like.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Says which of many events have an entry each, and counts the others.
pub(super) struct Tally {
    /// Events with an entry each, in any window.
    most: u64,
    window: Duration,
    current: Mutex<Current>,
}

/// The window of now.
struct Current {
    began: Instant,
    count: u64,
}

impl Tally {
    /// So many in any window have an entry.
    pub(super) fn new(most: u64, window: Duration) -> Self {
        Self {
            most,
            window,
            current: Mutex::new(Current {
                began: Instant::now(),
                count: 0,
            }),
        }
    }

    /// Counts an event. Whether it has an entry, and how many of the last window had none.
    pub(super) fn count(&self) -> (bool, u64) {
        let mut current = self.lock();
        let mut unlisted = 0;
        if current.began.elapsed() >= self.window {
            unlisted = self.end(&mut current);
        }
        current.count = current.count.saturating_add(1);
        (current.count <= self.most, unlisted)
    }

    /// Begins to count anew. Gives how many had no entry.
    pub(super) fn take(&self) -> u64 {
        self.end(&mut self.lock())
    }

    fn end(&self, current: &mut Current) -> u64 {
        current.began = Instant::now();
        std::mem::take(&mut current.count).saturating_sub(self.most)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_each_window_are_listed_and_the_others_counted() {
        let tally = Tally::new(2, Duration::from_secs(60));
        let counted: Vec<_> = (0..4).map(|_| tally.count()).collect();
        assert_eq!(counted, [(true, 0), (true, 0), (false, 0), (false, 0)]);
        advance(Duration::from_secs(59)).await;
        assert_eq!(tally.count(), (false, 0));
        advance(Duration::from_secs(1)).await;
        assert_eq!(tally.count(), (true, 3));
        assert_eq!(tally.take(), 0);
        for _ in 0..3 {
            tally.count();
        }
        assert_eq!((tally.take(), tally.take()), (1, 0));
    }
}
