//! What is measured of a task, and how much it may pass to the host.

use std::time::{Duration, Instant};

use crate::compiled::{ComponentExport, Form};
use crate::cpu::{CpuMeter, Watch};
use crate::limits::{Passed, TaskLimits};
use crate::state::Common;
use crate::task::{TaskSpec, Usage};

/// Bytes that a guest may hand to the host in one call, beyond its output limit. The engine counts about
/// 40 for each element of a list that it passes value by value.
const HOSTCALL_BYTES: u64 = 64 << 20;

/// Processor time and time of a task.
pub(super) struct Clocks {
    pub(super) meter: CpuMeter,
    pub(super) started: Instant,
    pub(super) watch: Watch,
}

impl Clocks {
    pub(super) fn new(task: &TaskSpec, common: &Common) -> Self {
        let meter = CpuMeter::shown_on(task.gauge.clone());
        let started = Instant::now();
        let watch = Watch::new(
            &meter,
            &task.limits,
            &task.cancel,
            started,
            &common.tripwire,
        );
        Self {
            meter,
            started,
            watch,
        }
    }

    /// What was used until now, but for what the store counts.
    pub(super) fn usage(&self, common: &Common) -> Usage {
        Usage {
            cpu_ms: milliseconds(self.meter.used()),
            wall_ms: milliseconds(self.started.elapsed()),
            output_bytes: common.output.used(),
            ..Usage::default()
        }
    }
}

/// How much a guest may pass to the host in one call.
pub(super) struct HostcallFuel {
    /// Bytes, as the engine counts them.
    pub(super) bytes: usize,
    /// The limit that they come from.
    pub(super) exhausted: Passed,
}

impl HostcallFuel {
    /// For calls of a component's export. What the host allocates for values that it builds one by one stays
    /// within the memory limit.
    pub(super) fn new(limits: &TaskLimits, export: &ComponentExport) -> Self {
        let output = Self::output(limits);
        if export.form != Form::Dynamic {
            return output;
        }
        let memory = limits.memory_bytes / u64::from(export.weight().amplification);
        let memory = Self {
            bytes: usize::try_from(memory).unwrap_or(usize::MAX),
            exhausted: Passed::Memory,
        };
        if memory.bytes < output.bytes {
            memory
        } else {
            output
        }
    }

    /// For bytes and strings.
    pub(super) fn output(limits: &TaskLimits) -> Self {
        let bytes = limits.output_bytes.saturating_add(HOSTCALL_BYTES);
        Self {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            exhausted: Passed::Output,
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The engine's own limit of handles. It counts a borrow once more, and the guest's own resources too, and only
/// stops what the resource table cannot see.
pub(super) fn handles(limits: &TaskLimits) -> usize {
    (limits.handles as usize).saturating_mul(2) + 16
}
