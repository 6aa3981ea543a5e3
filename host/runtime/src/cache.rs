//! Compiled components by digest.
//!
//! Several tasks with the same component at once compile it once. A failed compilation is not kept. The
//! cache is in memory only: compiled code of an encrypted component is as confidential as the component.
//! Whoever released the key decides how long the code may stay, by [`Runtime::forget`](crate::Runtime::forget).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::compiled::Compiled;
use crate::error::RuntimeError;

/// Compiled components by digest.
#[derive(Debug)]
pub(crate) struct Cache {
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_digest: HashMap<String, Entry>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    cell: Arc<OnceCell<Compiled>>,
    used: u64,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: Mutex::default(),
        }
    }

    /// The component with this digest, compiled by `compile` if it is not here and nobody else is at it.
    pub(crate) async fn get_or_compile<F>(
        &self,
        digest: &str,
        compile: impl FnOnce() -> F,
    ) -> Result<Compiled, RuntimeError>
    where
        F: Future<Output = Result<Compiled, RuntimeError>>,
    {
        let cell = self.entries().cell(digest);
        let compiled = cell.get_or_try_init(compile).await.cloned();
        if compiled.is_err() {
            self.entries().remove_unset(digest);
        }
        self.entries().shrink(self.capacity);
        compiled
    }

    pub(crate) fn forget(&self, digest: &str) -> bool {
        self.entries().by_digest.remove(digest).is_some()
    }

    pub(crate) fn contains(&self, digest: &str) -> bool {
        self.entries()
            .by_digest
            .get(digest)
            .is_some_and(|entry| entry.cell.initialized())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn cell(&mut self, digest: &str) -> Arc<OnceCell<Compiled>> {
        self.clock += 1;
        let entry = self
            .by_digest
            .entry(digest.to_owned())
            .or_insert_with(|| Entry {
                cell: Arc::default(),
                used: 0,
            });
        entry.used = self.clock;
        Arc::clone(&entry.cell)
    }

    /// Removes an entry that holds nothing, unless somebody is compiling into it.
    fn remove_unset(&mut self, digest: &str) {
        let idle = |entry: &Entry| !entry.cell.initialized() && Arc::strong_count(&entry.cell) <= 2;
        if self.by_digest.get(digest).is_some_and(idle) {
            self.by_digest.remove(digest);
        }
    }

    fn shrink(&mut self, capacity: usize) {
        while self.by_digest.len() > capacity {
            let settled = self
                .by_digest
                .iter()
                .filter(|(_, entry)| entry.cell.initialized());
            let Some(oldest) = settled.min_by_key(|(_, entry)| entry.used) else {
                return;
            };
            let digest = oldest.0.clone();
            self.by_digest.remove(&digest);
        }
    }
}
