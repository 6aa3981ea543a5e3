//! Stopping a task from outside.

use tokio::sync::watch;

/// A handle that stops one task. Clones stop the same task.
///
/// It works on a guest that spins: guest code yields to the scheduler about every 10 ms, and a stopped task
/// is not resumed. Stopping a task that has ended does nothing.
#[derive(Clone, Debug)]
pub struct CancelToken(watch::Sender<bool>);

impl CancelToken {
    /// A token that has not been used.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Stops the task.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when [`cancel`](Self::cancel) is called; at once if it was.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = receiver.wait_for(|cancelled| *cancelled).await;
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clones_share_one_state() {
        let token = CancelToken::new();
        let other = token.clone();
        assert!(!other.is_cancelled());
        token.cancel();
        assert!(other.is_cancelled());
        other.cancelled().await;
    }
}
