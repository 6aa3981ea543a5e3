//! Compilation: each component once, few at a time, kept by digest.
//!
//! A compilation cannot be interrupted, so what is bounded is how many there are. One holds its place until it
//! has really ended, whether or not its tasks still wait for it, and a further one waits in a [queue](queue) that
//! is fair to owners. One that nobody waits for any more is not begun, and when it had begun, its code is
//! dropped: it is the task that takes the code which keeps it. Tasks with the same component share one
//! compilation, also one that an earlier task gave up: asking again joins it. A failed one is not kept.
//!
//! How long a task waits for its component to be compiled is limited. The time begins with the compilation: what
//! others compile before it is not the component's fault. Waiting for its turn has a limit of its own, so that
//! tasks which wait do not stay for as long as somebody else's compilation takes.
//!
//! What is [kept](kept) is bounded in number and in bytes of code, and compilations under way count for nothing.
//! The cache is in memory only: compiled code of an encrypted component is as confidential as the component.
//! Whoever released the key decides how long the code may stay, by [`Runtime::forget`](crate::Runtime::forget).

mod jobs;
mod kept;
mod owner;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use proplet_types::Digest;

use self::jobs::{Asked, Shared};
pub(crate) use self::kept::Cacheable;
use self::kept::Kept;
pub use self::owner::Owner;
use self::queue::Queue;
use crate::error::RuntimeError;

/// How much is kept and compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most entries that are kept.
    pub(crate) entries: usize,
    /// Most bytes of code that are kept.
    pub(crate) bytes: u64,
    /// Compilations at once.
    pub(crate) places: usize,
    /// Most components that wait for a place.
    pub(crate) waiting: usize,
    /// How long a task waits for a place.
    pub(crate) wait: Duration,
    /// How long a task waits for a compilation that has begun.
    pub(crate) time: Duration,
}

/// Compiled code by digest, and the compilations under way.
pub(crate) struct Cache<T>(Arc<Shared<T>>);

impl<T: Cacheable> Cache<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared::new(
            Kept::new(bounds.entries, bounds.bytes),
            Queue::new(bounds.places, bounds.waiting),
            bounds.wait,
            bounds.time,
        )))
    }

    /// The code with this digest, compiled by `compile` on a blocking thread if it is not here and nobody else is
    /// at it. To give it up is to drop the future.
    ///
    /// # Errors
    /// What `compile` fails with; [`RuntimeError::CompileBusy`]; [`RuntimeError::LimitCompile`].
    pub(crate) async fn get_or_compile(
        &self,
        digest: Digest,
        owner: &Owner,
        compile: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        match self.0.ask(digest, owner, Box::new(compile))? {
            Asked::Kept(code) => Ok(code),
            Asked::Waits(mut waiter) => {
                self.0.begin();
                waiter.code().await
            }
        }
    }

    /// Drops what is kept under this digest, and does not keep what is being compiled.
    pub(crate) fn forget(&self, digest: &Digest) -> bool {
        let mut state = self.0.state();
        if let Some(job) = state.jobs.get_mut(digest) {
            job.forgotten = true;
        }
        state.kept.remove(digest)
    }
}

impl<T> std::fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}
