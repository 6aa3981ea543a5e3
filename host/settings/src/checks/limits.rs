//! `[limits]`: what tasks may use.

use std::num::NonZeroUsize;

use proplet_runtime::TaskLimits;

use crate::{document, error::SettingsError, sections::Limits};

pub(crate) fn checked_limits(document: &document::Limits) -> Result<Limits, SettingsError> {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let default = TaskLimits::default();
    let limits = Limits {
        tasks: document.tasks.unwrap_or_else(|| processors.max(2)),
        queue: document.queue.unwrap_or(64),
        queue_bytes: document.queue_bytes.unwrap_or(64 * 1024 * 1024),
        compile_ms: document.compile_ms.unwrap_or(120_000),
        task: TaskLimits {
            memory_bytes: document.memory_bytes.unwrap_or(default.memory_bytes),
            wall_clock_ms: document.wall_clock_ms.unwrap_or(default.wall_clock_ms),
            cpu_ms: document.cpu_ms.unwrap_or(default.cpu_ms),
            output_bytes: document.output_bytes.unwrap_or(default.output_bytes),
            handles: document.handles.unwrap_or(default.handles),
            evidence_quota: document.evidence_quota.unwrap_or(default.evidence_quota),
            secret_quota: document.secret_quota.unwrap_or(default.secret_quota),
        },
    };
    if !(1..=4096).contains(&limits.tasks) {
        return Err(SettingsError::value(
            "limits",
            "tasks",
            "must be from 1 to 4096",
        ));
    }
    if limits.compile_ms == 0 {
        return Err(SettingsError::value(
            "limits",
            "compile_ms",
            "0 lets no task run",
        ));
    }
    if limits.queue > 100_000 {
        return Err(SettingsError::value(
            "limits",
            "queue",
            "must be at most 100000",
        ));
    }
    Ok(limits)
}
