//! Sending many bytes, and knowing whether it goes on.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::progress::{Progress, Watcher};

/// Bytes that are handed to the connection at once, and so the grain of progress.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(250);
/// The slowest connection that an upload may take, in bytes per second over all of it.
const MIN_BYTES_PER_SECOND: u64 = 4 * 1024;

/// How long an upload is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// While the connection takes nothing.
    pub stalled: Duration,
    /// For an answer when all was sent: storing a large blob takes its time.
    pub answer: Duration,
}

impl Patience {
    /// When an upload of so many bytes that begins now is given up whatever it does.
    pub(super) fn end(self, total: u64) -> Instant {
        Instant::now() + Duration::from_secs(total / MIN_BYTES_PER_SECOND) + self.answer
    }
}

/// An upload that was given up, and how far it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenUp(pub Progress);

/// A body that counts what was taken of it.
pub(super) fn body(bytes: Bytes, sent: Arc<AtomicU64>) -> reqwest::Body {
    let starts = (0..bytes.len()).step_by(CHUNK_BYTES);
    let chunks = starts.map(move |start| {
        let chunk = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
        sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok::<_, Infallible>(chunk)
    });
    reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))
}

/// Waits for an upload of `total` bytes for as long as it goes on. A limit in time for the whole would
/// be too short for a slow line or too long for a dead one.
pub(super) async fn watch<T>(
    upload: impl Future<Output = T>,
    sent: &AtomicU64,
    total: u64,
    patience: Patience,
    watcher: Watcher<'_>,
) -> Result<T, GivenUp> {
    let end = patience.end(total);
    let mut upload = pin!(upload);
    let mut last = (0, Instant::now());
    loop {
        if let Ok(done) = tokio::time::timeout(TICK, &mut upload).await {
            return Ok(done);
        }
        let progress = Progress {
            sent: sent.load(Ordering::Relaxed).min(total),
            total,
        };
        watcher(progress);
        if progress.sent != last.0 {
            last = (progress.sent, Instant::now());
        }
        let silent = if progress.sent == total {
            patience.answer
        } else {
            patience.stalled
        };
        if last.1.elapsed() > silent || Instant::now() > end {
            return Err(GivenUp(progress));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        stalled: Duration::from_secs(30),
        answer: Duration::from_secs(300),
    };

    /// An upload that takes `step` bytes every `every`, then answers after `answer`.
    async fn upload(sent: &AtomicU64, total: u64, step: u64, every: Duration, answer: Duration) {
        while sent.load(Ordering::Relaxed) < total {
            tokio::time::sleep(every).await;
            sent.fetch_add(step, Ordering::Relaxed);
        }
        tokio::time::sleep(answer).await;
    }

    async fn watched(total: u64, step: u64, every: u64, answer: u64) -> Result<(), GivenUp> {
        let sent = AtomicU64::new(0);
        let secs = Duration::from_secs;
        let upload = upload(&sent, total, step, secs(every), secs(answer));
        watch(upload, &sent, total, PATIENCE, &mut |_| {}).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_goes_on() {
        // 250 MiB in five hours, and a registry that thinks for four minutes afterwards.
        let step = 64 * 1024;
        assert_eq!(watched(4000 * step, step, 5, 240).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stands_still_is_given_up() {
        let mib = 1024 * 1024;
        let stalled = watched(10 * mib, mib, 31, 0).await.unwrap_err();
        assert_eq!((stalled.0.sent, stalled.0.total), (0, 10 * mib));
        let unanswered = watched(mib, mib, 1, 310).await.unwrap_err();
        assert_eq!(unanswered.0.sent, mib);
        // One byte now and then is standing still too.
        let trickling = watched(mib, 1, 20, 0).await.unwrap_err();
        assert!(trickling.0.sent < 100, "{trickling:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told() {
        let sent = AtomicU64::new(0);
        let mut told = Vec::new();
        let upload = upload(&sent, 4, 1, Duration::from_secs(1), Duration::from_secs(1));
        watch(upload, &sent, 4, PATIENCE, &mut |progress| {
            told.push(progress.sent)
        })
        .await
        .unwrap();
        told.dedup();
        assert_eq!(told, [0, 1, 2, 3, 4]);
    }
}
