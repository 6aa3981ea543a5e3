//! Threads for guests that answer requests.
//!
//! A task has a thread of its own while it runs apart (`apart.rs`). An instance that answers a request does not: it
//! lasts as long as its client takes, and hundreds of slow clients would keep hundreds of threads that do nothing. So
//! instances share a few threads, on which they do nothing but compute: one that waits, for its client or for its own
//! request's answer, holds none. Those that compute give way at every tick, to each other and to nobody else, and
//! between these threads and the scheduler's the kernel decides.

use std::future::Future;
use std::num::NonZeroUsize;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::RuntimeError;

/// As many threads as there are processors. They end when this is dropped, with whatever runs on them.
#[derive(Debug)]
pub(crate) struct Threads {
    there: Handle,
    /// Until this is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    /// # Errors
    /// [`RuntimeError::Host`] when the operating system gives no threads.
    pub(crate) fn new() -> Result<Self, RuntimeError> {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors)
            .thread_name("proplet-http")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| {
            RuntimeError::Host(format!(
                "no threads for guests that answer requests: {error}"
            ))
        })?;
        Ok(Self {
            there: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Runs it there.
    pub(super) fn spawn<R>(&self, run: R) -> JoinHandle<R::Output>
    where
        R: Future<Output: Send + 'static> + Send + 'static,
    {
        self.there.spawn(run)
    }
}

impl Drop for Threads {
    /// Waits for nobody, since this may be on a thread of the scheduler.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
