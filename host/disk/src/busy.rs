//! How long the thread that writes has been at the disk.
//!
//! Who asks does so before each task, on a thread of the runtime. So it is one load of an atomic, and never waits for
//! the thread that it asks about.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Since when a thread waits for the disk, to the millisecond. Clones share one.
#[derive(Debug, Clone)]
pub struct Busy {
    began: Instant,
    /// Milliseconds from `began`, and one; 0 while it does not wait.
    since: Arc<AtomicU64>,
}

impl Default for Busy {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            since: Arc::default(),
        }
    }
}

impl Busy {
    /// The disk is waited for from now on.
    pub fn begin(&self) {
        self.since.store(self.now(), Ordering::SeqCst);
    }

    /// It answered.
    pub fn end(&self) {
        self.since.store(0, Ordering::SeqCst);
    }

    /// Whether it has been waited for this long.
    #[must_use]
    pub fn is_longer_than(&self, patience: Duration) -> bool {
        let since = self.since.load(Ordering::SeqCst);
        since != 0 && Duration::from_millis(self.now().saturating_sub(since)) >= patience
    }

    fn now(&self) -> u64 {
        let passed = u64::try_from(self.began.elapsed().as_millis());
        passed.unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_waits_waits_long() {
        let busy = Busy::default();
        assert!(!busy.is_longer_than(Duration::ZERO));
        busy.begin();
        assert!(busy.is_longer_than(Duration::ZERO));
        assert!(!busy.is_longer_than(Duration::from_secs(3600)));
        busy.clone().end();
        assert!(!busy.is_longer_than(Duration::ZERO));
    }
}
