//! What one task may use, and the counters that hold it to that.
//!
//! A limit that is passed ends the task; it is not reported to the guest as a failed allocation or a closed
//! stream, since a guest that copes badly with those would then fail in some other, misleading way. The
//! first limit that was passed is remembered in a [`Tripwire`], because the error on its way out of the
//! engine may have been wrapped or replaced by then.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use proplet_component::policy::PolicyLimits;

use crate::error::RuntimeError;
use crate::gauge::Gauge;

/// What one task may use. Every task has its own counters; nothing is shared between tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// Memory in bytes: linear memories, tables (8 bytes an element), held secrets, and the values that the host
    /// makes of inputs and writes of results, together. The engine's own copy of a result, while it is passed on
    /// value by value, may take as much again.
    pub memory_bytes: u64,
    /// Time from instantiation to the end, in milliseconds, waiting included.
    pub wall_clock_ms: u64,
    /// Processor time in milliseconds, waiting not included: of the guest, and of the host while it reads the
    /// inputs and writes the result. It is checked about every 10 ms, but not while the engine passes values on.
    pub cpu_ms: u64,
    /// Bytes of standard output, standard error and the result together.
    pub output_bytes: u64,
    /// Resource handles that may be alive at once.
    pub handles: u32,
    /// How often the task may ask for evidence.
    pub evidence_quota: u32,
    /// How often the task may ask for a secret.
    pub secret_quota: u32,
}

impl Default for TaskLimits {
    /// 512 MiB of memory, five minutes, one minute of processor time, 1 MiB of output, 1024 handles, 16
    /// pieces of evidence, and as many requests for secrets as a policy can name.
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            wall_clock_ms: 300_000,
            cpu_ms: 60_000,
            output_bytes: 1 << 20,
            handles: 1024,
            evidence_quota: 16,
            secret_quota: 256,
        }
    }
}

impl TaskLimits {
    /// These limits, lowered where a policy asks for less. A policy can never raise one.
    pub fn lowered_by(&self, policy: &PolicyLimits) -> Self {
        let lower = |host: u64, policy: Option<u64>| policy.map_or(host, |value| value.min(host));
        let lower32 = |host: u32, policy: Option<u32>| policy.map_or(host, |value| value.min(host));
        Self {
            memory_bytes: lower(self.memory_bytes, policy.memory_bytes),
            wall_clock_ms: lower(self.wall_clock_ms, policy.wall_clock_ms),
            cpu_ms: lower(self.cpu_ms, policy.cpu_ms),
            output_bytes: lower(self.output_bytes, policy.output_bytes),
            handles: lower32(self.handles, policy.handles),
            evidence_quota: lower32(self.evidence_quota, policy.evidence_quota),
            secret_quota: lower32(self.secret_quota, policy.secret_quota),
        }
    }

    /// The error for a limit that was passed.
    pub(crate) fn error(&self, passed: Passed) -> RuntimeError {
        match passed {
            Passed::Memory => RuntimeError::LimitMemory(self.memory_bytes),
            Passed::Cpu => RuntimeError::LimitCpu(self.cpu_ms),
            Passed::Output => RuntimeError::LimitOutput(self.output_bytes),
            Passed::Handles => RuntimeError::LimitHandles(self.handles),
            Passed::WallClock => RuntimeError::LimitWallClock(self.wall_clock_ms),
            Passed::Stop => RuntimeError::Stopped,
        }
    }
}

/// What ended a task from outside its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Memory = 1,
    Cpu = 2,
    Output = 3,
    Handles = 4,
    WallClock = 5,
    Stop = 6,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit passed: {self:?}")
    }
}

impl std::error::Error for Passed {}

/// Remembers the first limit that a task passed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tripwire(Arc<AtomicU8>);

impl Tripwire {
    /// Notes that a limit was passed and gives the error that unwinds the guest.
    pub(crate) fn trip(&self, passed: Passed) -> wasmtime::Error {
        // Only the first counts: the later ones are its consequences.
        let _ = self
            .0
            .compare_exchange(0, passed as u8, Ordering::Relaxed, Ordering::Relaxed);
        wasmtime::Error::new(passed)
    }

    /// The limit that was passed first.
    pub(crate) fn passed(&self) -> Option<Passed> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Passed::Memory),
            2 => Some(Passed::Cpu),
            3 => Some(Passed::Output),
            4 => Some(Passed::Handles),
            5 => Some(Passed::WallClock),
            6 => Some(Passed::Stop),
            _ => None,
        }
    }
}

/// Counts guest memory over every linear memory and table of a store, and the secrets that the host holds
/// for it.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit: u64,
    used: u64,
    peak: u64,
    tripwire: Tripwire,
    gauge: Gauge,
}

impl MemoryMeter {
    pub(crate) fn new(limit: u64, tripwire: Tripwire) -> Self {
        Self {
            limit,
            used: 0,
            peak: 0,
            tripwire,
            gauge: Gauge::default(),
        }
    }

    /// The same, before it has counted anything, with its count shown on this gauge too.
    pub(crate) fn shown_on(limit: u64, tripwire: Tripwire, gauge: Gauge) -> Self {
        let mut meter = Self::new(limit, tripwire);
        meter.gauge = gauge;
        meter
    }

    /// The most that was in use at once, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// Counts `bytes` as used, unless that passes the limit.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        match self.used.checked_add(bytes) {
            Some(used) if used <= self.limit => {
                self.used = used;
                self.peak = self.peak.max(used);
                self.gauge.took(bytes);
                true
            }
            _ => false,
        }
    }

    /// Gives back what [`reserve`](Self::reserve) counted.
    pub(crate) fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.used);
        self.used = self.used.saturating_sub(bytes);
        self.gauge.gave_back(bytes);
    }

    fn grow(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        unit: u64,
    ) -> wasmtime::Result<bool> {
        // Growth past the memory's own maximum fails without using anything, as the specification says.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let bytes = (desired.saturating_sub(current) as u64).saturating_mul(unit);
        if self.reserve(bytes) {
            Ok(true)
        } else {
            Err(self.tripwire.trip(Passed::Memory))
        }
    }
}

/// The instance is gone, and its memory with it.
impl Drop for MemoryMeter {
    fn drop(&mut self) {
        self.gauge.gave_back(self.used);
    }
}

/// Bytes that a table element takes in the engine: one pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

impl wasmtime::ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow(current, desired, maximum, 1)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow(current, desired, maximum, TABLE_ELEMENT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::*;

    #[test]
    fn a_policy_lowers_and_never_raises() {
        let host = TaskLimits {
            memory_bytes: 100,
            wall_clock_ms: 100,
            ..TaskLimits::default()
        };
        let policy = PolicyLimits {
            memory_bytes: Some(50),
            wall_clock_ms: Some(1000),
            handles: Some(2),
            evidence_quota: Some(u32::MAX),
            secret_quota: Some(3),
            ..PolicyLimits::default()
        };
        let lowered = host.lowered_by(&policy);
        assert_eq!(lowered.memory_bytes, 50);
        assert_eq!(lowered.wall_clock_ms, 100);
        assert_eq!(lowered.handles, 2);
        assert_eq!(lowered.evidence_quota, host.evidence_quota);
        assert_eq!(lowered.secret_quota, 3);
        assert_eq!(lowered.cpu_ms, host.cpu_ms);
    }

    #[test]
    fn memories_and_tables_count_together() {
        let tripwire = Tripwire::default();
        let mut meter = MemoryMeter::new(1000, tripwire.clone());
        assert!(meter.memory_growing(0, 500, None).unwrap());
        assert!(meter.table_growing(0, 50, None).unwrap());
        assert_eq!(meter.peak(), 900);
        assert!(meter.memory_growing(500, 601, None).is_err());
        assert_eq!(tripwire.passed(), Some(Passed::Memory));
    }

    #[test]
    fn growth_past_the_memorys_own_maximum_is_no_limit() {
        let tripwire = Tripwire::default();
        let mut meter = MemoryMeter::new(1000, tripwire.clone());
        assert!(!meter.memory_growing(0, 500, Some(400)).unwrap());
        assert_eq!(tripwire.passed(), None);
        assert_eq!(meter.peak(), 0);
    }

    #[test]
    fn a_gauge_shows_what_all_instances_of_a_task_have_now() {
        let gauge = Gauge::default();
        let meter = || MemoryMeter::shown_on(1000, Tripwire::default(), gauge.clone());
        let (mut one, mut other) = (meter(), meter());
        assert!(one.memory_growing(0, 500, None).unwrap());
        assert!(other.memory_growing(0, 300, None).unwrap());
        assert_eq!(gauge.memory_bytes(), 800);
        // What is not granted is not in use, and nobody gives back more than there is.
        assert!(one.memory_growing(500, 1001, None).is_err());
        one.release(100);
        other.release(400);
        assert_eq!(gauge.memory_bytes(), 400);
        drop(one);
        assert_eq!(gauge.memory_bytes(), 0);
        drop(other);
        assert_eq!(gauge.memory_bytes(), 0);
    }

    #[test]
    fn the_first_limit_is_remembered() {
        let tripwire = Tripwire::default();
        let error = tripwire.trip(Passed::Output);
        let _ = tripwire.trip(Passed::Cpu);
        assert_eq!(tripwire.passed(), Some(Passed::Output));
        assert_eq!(error.downcast_ref::<Passed>(), Some(&Passed::Output));
    }
}
