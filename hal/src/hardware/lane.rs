//! The queue before one device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::kind::Raw;
use super::way::{Way, WayError};

/// The first wait before another try; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often a request is made at most.
const ATTEMPTS: u32 = 8;
/// How much longer than its time a turn may last, so that one that ends just then is not taken for stuck.
const GRACE: Duration = Duration::from_secs(1);

/// One way and those who wait for it.
pub(super) struct Lane {
    way: Arc<dyn Way>,
    /// One permit: who has it may ask.
    turn: Arc<Semaphore>,
    /// When somebody had a turn last.
    since: watch::Sender<Instant>,
    /// Whether its failure was told.
    told: AtomicBool,
}

impl Lane {
    pub(super) fn new(way: Box<dyn Way>) -> Self {
        Self {
            way: Arc::from(way),
            turn: Arc::new(Semaphore::new(1)),
            since: watch::Sender::new(Instant::now()),
            told: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.way.name()
    }

    /// Asks when it is our turn, again while that may help, and gives up when the time is over. The time begins
    /// with our turn: those before us use their own.
    pub(super) async fn ask(&self, data: &[u8; 64], patience: Duration) -> Result<Raw, WayError> {
        let turn = self.turn(patience).await?;
        timeout(patience, self.ask_in_turn(*data, turn))
            .await
            .unwrap_or(Err(timed_out(patience)))
    }

    /// Waits for our turn. Whoever has it gives up after `patience`; a turn that is older belongs to a request
    /// that hangs in the kernel and whose caller has gone, and nobody waits for that.
    async fn turn(&self, patience: Duration) -> Result<OwnedSemaphorePermit, WayError> {
        let mut turn = std::pin::pin!(Arc::clone(&self.turn).acquire_owned());
        // Somebody may have taken his turn and not said so yet, so the last one that is known says nothing at once.
        let at_least = Instant::now() + GRACE;
        loop {
            let since = *self.since.borrow();
            let end = (since + patience + GRACE).max(at_least);
            match timeout_at(end, turn.as_mut()).await {
                Ok(turn) => {
                    self.since.send_replace(Instant::now());
                    // The semaphore is never closed.
                    return turn.map_err(|_| WayError::Aborted);
                }
                Err(_) if *self.since.borrow() != since => {}
                Err(_) => return Err(timed_out(patience)),
            }
        }
    }

    async fn ask_in_turn(
        &self,
        data: [u8; 64],
        mut turn: OwnedSemaphorePermit,
    ) -> Result<Raw, WayError> {
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let way = Arc::clone(&self.way);
            // The turn goes with the request: it ends when the request does, and not when its caller gives up.
            let request = tokio::task::spawn_blocking(move || (way.attempt(&data), turn));
            let (result, returned) = request.await.map_err(|_| WayError::Aborted)?;
            turn = returned;
            match result {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::debug!(way = self.name(), %error, "asking again");
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Logs a failure, if the one before it was no failure.
    pub(super) fn report(&self, error: &WayError) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let code = error.code();
            tracing::warn!(way = self.name(), %code, %error, "no evidence this way");
        }
    }

    /// After a success, the next failure is news again.
    pub(super) fn recovered(&self) {
        self.told.store(false, Ordering::Relaxed);
    }
}

fn timed_out(patience: Duration) -> WayError {
    WayError::TimedOut {
        seconds: patience.as_secs(),
    }
}
