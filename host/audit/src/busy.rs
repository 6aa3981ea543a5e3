//! How long the thread that writes has been at the disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Since when the thread waits for the disk. Clones share one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<Mutex<Option<Instant>>>);

impl Busy {
    /// The disk is waited for from now on.
    pub(crate) fn begin(&self) {
        self.set(Some(Instant::now()));
    }

    /// It answered.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    /// Whether it has been waited for this long.
    pub(crate) fn is_longer_than(&self, patience: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() >= patience)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
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
