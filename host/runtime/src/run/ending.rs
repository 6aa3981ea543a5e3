//! How a call ends, and what that means.

use std::future::Future;
use std::time::Duration;

use wasmtime::PoolConcurrencyLimitError;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;

use crate::call::{self, Ended};
use crate::capture::OutputBudget;
use crate::cpu::CpuMeter;
use crate::error::{GuestText, RuntimeError};
use crate::limits::{Passed, Tripwire};
use crate::task::{Content, TaskSpec, Value};

/// Drives the call until it ends, is stopped, or takes too long.
pub(super) async fn supervise(
    task: &TaskSpec,
    meter: &CpuMeter,
    call: impl Future<Output = Result<Value, Ended>>,
) -> Result<Value, Ended> {
    let limit = task.limits.wall_clock_ms;
    tokio::select! {
        biased;
        () = task.cancel.cancelled() => Err(Ended::Runtime(RuntimeError::Stopped)),
        () = tokio::time::sleep(Duration::from_millis(limit)) => {
            Err(Ended::Runtime(RuntimeError::LimitWallClock(limit)))
        }
        ended = meter.measure(call) => ended,
    }
}

/// What the end of a call means.
pub(super) fn settle(
    task: &TaskSpec,
    tripwire: &Tripwire,
    output: &OutputBudget,
    published: bool,
    exhausted: Passed,
    ended: Result<Value, Ended>,
) -> Result<Value, RuntimeError> {
    let ended = match ended {
        Ok(value) if published => Ok(value),
        Ok(value) => call::spend(&value, output)
            .map(|()| value)
            .map_err(Ended::Engine),
        ended => ended,
    };
    match ended {
        Ok(value) => Ok(value),
        Err(Ended::Runtime(error)) => Err(error),
        Err(Ended::Engine(error)) => match tripwire.passed() {
            Some(passed) => Err(task.limits.error(passed)),
            None => engine_error(task, exhausted, &error),
        },
    }
}

fn engine_error(
    task: &TaskSpec,
    exhausted: Passed,
    error: &wasmtime::Error,
) -> Result<Value, RuntimeError> {
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return match status {
            0 => Ok(Value {
                content: Content::Stdout,
                in_ok: false,
            }),
            status => Err(call::exited(*status)),
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(RuntimeError::Host(
            "no free place for the component's instances; run fewer tasks at once".to_owned(),
        ));
    }
    let text = format!("{error:?}");
    // The engine's own limits have no types of their own.
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Err(task.limits.error(exhausted));
    }
    let table_full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    if table_full || text.contains("store handle limit exceeded") {
        return Err(RuntimeError::LimitHandles(task.limits.handles));
    }
    Err(RuntimeError::GuestTrapped(GuestText::new(text)))
}
