//! How a call ends, and what that means.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use wasmtime::PoolConcurrencyLimitError;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;

use super::meters::Clocks;
use crate::call::{self, Ended};
use crate::capture::OutputBudget;
use crate::error::{GuestText, RuntimeError};
use crate::limits::{Passed, Tripwire};
use crate::task::{Content, TaskSpec, Value};

/// Drives the call until it ends, is stopped, or takes too long.
///
/// Most calls never wait, and setting up a timer for each costs more than the shortest take. So the timer and
/// the canceller are waited for from when the call first gives way, which a guest does at the next tick at the
/// latest; they count from before, and a task that was stopped already does not begin.
pub(super) async fn supervise(
    task: &TaskSpec,
    clocks: &Clocks,
    call: Pin<&mut impl Future<Output = Result<Value, Ended>>>,
) -> Result<Value, Ended> {
    let limit = task.limits.wall_clock_ms;
    let wall_clock = Duration::from_millis(limit);
    let timer = tokio::time::sleep(wall_clock);
    if task.cancel.is_cancelled() {
        return Err(Ended::Runtime(RuntimeError::Stopped));
    }
    if clocks.started.elapsed() >= wall_clock {
        return Err(Ended::Runtime(RuntimeError::LimitWallClock(limit)));
    }
    let mut call = pin!(clocks.meter.measure(call));
    let mut stopped = pin!(async {
        tokio::select! {
            biased;
            () = task.cancel.cancelled() => RuntimeError::Stopped,
            () = timer => RuntimeError::LimitWallClock(limit),
        }
    });
    let mut waits = false;
    poll_fn(|context| {
        if waits && let Poll::Ready(error) = stopped.as_mut().poll(context) {
            return Poll::Ready(Err(Ended::Runtime(error)));
        }
        if let Poll::Ready(ended) = call.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        if waits {
            return Poll::Pending;
        }
        waits = true;
        let stopped = stopped.as_mut().poll(context);
        stopped.map(|error| Err(Ended::Runtime(error)))
    })
    .await
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
