//! Stopping a task from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A handle that stops one task. Clones stop the same task.
///
/// It works on a guest that spins: guest code yields to the scheduler about every 10 ms, and a stopped task
/// is not resumed. Stopping a task that has ended does nothing.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    waiting: Notify,
}

impl CancelToken {
    /// A token that has not been used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the task.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.0.waiting.notify_waiters();
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Ends when [`cancel`](Self::cancel) is called; at once if it was.
    pub async fn cancelled(&self) {
        // It is woken by whatever comes after this line, so nothing is missed between the look and the wait.
        let notified = self.0.waiting.notified();
        if !self.is_cancelled() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told() {
        let token = CancelToken::new();
        let (mut one, mut other) = (pin!(token.cancelled()), pin!(token.cancelled()));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(context).is_pending());
        assert!(other.as_mut().poll(context).is_pending());
        token.cancel();
        one.await;
        other.await;
        token.cancelled().await;
    }

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
