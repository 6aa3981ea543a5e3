//! What a task uses while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a task uses, for whoever looks on while it runs. Clones show the same task.
///
/// It shows what the limits count: processor time over the polls of the task, which end at every tick of about 10 ms
/// (later while the engine passes values on), and memory as [`TaskLimits::memory_bytes`](crate::TaskLimits) has it. Where
/// a task has several instances, as one that answers HTTP requests, it shows all of them together.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Readings>);

#[derive(Debug, Default)]
struct Readings {
    /// Nanoseconds.
    cpu: AtomicU64,
    memory: AtomicU64,
}

impl Gauge {
    /// Processor time used until now.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.0.cpu.load(Ordering::Relaxed))
    }

    /// Memory in use now, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.0.memory.load(Ordering::Relaxed)
    }

    pub(crate) fn spent(&self, nanoseconds: u64) {
        self.0.cpu.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn took(&self, bytes: u64) {
        self.0.memory.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Of what was taken before.
    pub(crate) fn gave_back(&self, bytes: u64) {
        self.0.memory.fetch_sub(bytes, Ordering::Relaxed);
    }
}
