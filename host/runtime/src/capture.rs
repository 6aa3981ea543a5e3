//! What a guest writes to its standard streams.
//!
//! It stays in the host's memory, within the task's output limit, and is wiped when it is dropped. The
//! buffer grows by hand, because a vector that grows by itself leaves its old contents behind.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use zeroize::Zeroizing;

use crate::limits::{Passed, Tripwire};

/// Bytes of output that a task has left, over all its streams and its result.
#[derive(Clone, Debug)]
pub(crate) struct OutputBudget {
    limit: u64,
    used: Arc<AtomicU64>,
    tripwire: Tripwire,
}

impl OutputBudget {
    pub(crate) fn new(limit: u64, tripwire: Tripwire) -> Self {
        Self {
            limit,
            used: Arc::default(),
            tripwire,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What is left, in bytes.
    pub(crate) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    /// Counts `bytes`, unless that passes the limit.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let add = |used: u64| {
            used.checked_add(bytes as u64)
                .filter(|sum| *sum <= self.limit)
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    /// Gives back what [`reserve`](Self::reserve) counted.
    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Counts `bytes`, or gives the error that ends the guest.
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), wasmtime::Error> {
        if self.reserve(bytes) {
            Ok(())
        } else {
            Err(self.tripwire.trip(Passed::Output))
        }
    }
}

/// One captured stream. Clones write to the same buffer.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    budget: OutputBudget,
    buffer: Arc<Mutex<Zeroizing<Vec<u8>>>>,
}

impl Capture {
    pub(crate) fn new(budget: OutputBudget) -> Self {
        Self {
            budget,
            buffer: Arc::default(),
        }
    }

    /// Takes what was written so far.
    pub(crate) fn take(&self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut *self.buffer())
    }

    fn append(&self, bytes: &[u8]) -> Result<(), wasmtime::Error> {
        self.budget.spend(bytes.len())?;
        let mut buffer = self.buffer();
        let needed = buffer.len() + bytes.len();
        if needed > buffer.capacity() {
            let mut larger = Vec::with_capacity(needed.next_power_of_two().max(256));
            larger.extend_from_slice(&buffer);
            // Dropping the old one wipes it.
            *buffer = Zeroizing::new(larger);
        }
        buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn buffer(&self) -> MutexGuard<'_, Zeroizing<Vec<u8>>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that a guest may write in one call; the engine may allocate as many on its behalf.
const WRITE_PERMIT: usize = 64 * 1024;

#[async_trait::async_trait]
impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes).map_err(StreamError::Trap)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT)
    }
}

#[async_trait::async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Capture {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match self.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::Error::other("the output limit of the task is passed")),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Capture {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn streams_share_the_budget() {
        let tripwire = Tripwire::default();
        let budget = OutputBudget::new(10, tripwire.clone());
        let (mut stdout, mut stderr) = (Capture::new(budget.clone()), Capture::new(budget.clone()));
        OutputStream::write(&mut stdout, Bytes::from_static(b"12345")).unwrap();
        stderr.write_all(b"12345").await.unwrap();
        assert_eq!(tripwire.passed(), None);
        let refused = OutputStream::write(&mut stdout, Bytes::from_static(b"6"));
        assert!(matches!(refused, Err(StreamError::Trap(_))));
        assert!(stderr.write_all(b"6").await.is_err());
        assert_eq!(tripwire.passed(), Some(Passed::Output));
        assert_eq!(
            (stdout.take().as_slice(), stderr.take().as_slice()),
            (&b"12345"[..], &b"12345"[..])
        );
        assert_eq!(budget.used(), 10);
    }

    #[test]
    fn clones_write_to_the_same_buffer_in_order() {
        let capture = Capture::new(OutputBudget::new(1 << 20, Tripwire::default()));
        for round in 0..1000_u16 {
            capture.clone().append(&round.to_be_bytes()).unwrap();
        }
        let all = capture.take();
        assert_eq!(all.len(), 2000);
        assert_eq!(all[998..1000], 499_u16.to_be_bytes());
        assert!(capture.take().is_empty());
    }
}
