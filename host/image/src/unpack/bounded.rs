//! Reading that ends: at a limit, or when nobody waits for it any more.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells work that nobody waits for it any more. Clones tell of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    /// Says so when the guard is dropped, as it is with the future that holds it.
    pub(crate) fn when_dropped(&self) -> Waiting {
        Waiting(self.clone())
    }

    pub(super) fn is_true(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Somebody waits as long as this lives.
pub(crate) struct Waiting(Abandoned);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Reads at most `left` bytes and then fails, so that a small archive cannot unpack without end. Fails as
/// well when it is given up. The decompressor reads from one too, because what it reads may unpack to nothing.
pub(super) struct Bounded<'a, R> {
    inner: R,
    left: u64,
    pub(super) exceeded: bool,
    given_up: &'a Abandoned,
}

impl<'a, R> Bounded<'a, R> {
    pub(super) fn new(inner: R, left: u64, given_up: &'a Abandoned) -> Self {
        Self {
            inner,
            left,
            exceeded: false,
            given_up,
        }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given_up.is_true() {
            return Err(std::io::Error::other("nobody waits for it"));
        }
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => {
                self.exceeded = true;
                Err(std::io::Error::other("the limit is reached"))
            }
        }
    }
}
