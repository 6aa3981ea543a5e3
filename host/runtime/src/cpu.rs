//! Processor time of a task, and the ticker that makes guests give way.
//!
//! Two clocks work together. The ticker advances the engine's epoch about every 10 ms; guest code notices
//! at its next loop back-edge or call, and its store's callback then yields to the scheduler, so that a
//! spinning guest can be stopped. That it holds up nobody else's work is the business of `run/apart.rs` and
//! `run/threads.rs`. How much the task has used is measured, not counted in ticks: the time of the thread that polls
//! the task, over its polls. A task that waits uses nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::cancel::CancelToken;
use crate::error::RuntimeError;
use crate::gauge::Gauge;
use crate::limits::{Passed, TaskLimits, Tripwire};

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuMeter(Arc<Times>);

#[derive(Debug, Default)]
struct Times {
    /// Nanoseconds of the polls that have ended.
    used: AtomicU64,
    /// Thread time at which the current poll began.
    entered: AtomicU64,
    /// Shows the polls that have ended.
    gauge: Gauge,
}

impl CpuMeter {
    /// One whose readings this gauge shows too.
    pub(crate) fn shown_on(gauge: Gauge) -> Self {
        Self(Arc::new(Times {
            gauge,
            ..Times::default()
        }))
    }

    /// What was used so far. Called from inside a poll it includes that poll, on the poll's own thread.
    pub(crate) fn used_now(&self) -> Duration {
        let current = thread_time().saturating_sub(self.0.entered.load(Ordering::Relaxed));
        Duration::from_nanos(self.0.used.load(Ordering::Relaxed).saturating_add(current))
    }

    /// What the polls that have ended used.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.0.used.load(Ordering::Relaxed))
    }

    /// The future, with the time of its polls counted. It is borrowed, because those of calls are large and
    /// would be copied into this one.
    pub(crate) async fn measure<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
        std::future::poll_fn(|context| {
            let entered = thread_time();
            self.0.entered.store(entered, Ordering::Relaxed);
            let poll = future.as_mut().poll(context);
            let used = thread_time().saturating_sub(entered);
            self.0.used.fetch_add(used, Ordering::Relaxed);
            self.0.gauge.spent(used);
            poll
        })
        .await
    }
}

/// Tells those who work for a task when it has to end: the engine at every tick, and the host while it reads
/// inputs or writes a result.
///
/// The wall clock and the canceller are watched by the scheduler's timer as well, but a task that keeps the
/// only thread of a scheduler keeps that timer waiting.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    meter: CpuMeter,
    tripwire: Tripwire,
    cancel: CancelToken,
    started: Instant,
    cpu: Duration,
    wall: Duration,
}

impl Watch {
    pub(crate) fn new(
        meter: &CpuMeter,
        limits: &TaskLimits,
        cancel: &CancelToken,
        started: Instant,
        tripwire: &Tripwire,
    ) -> Self {
        Self {
            meter: meter.clone(),
            tripwire: tripwire.clone(),
            cancel: cancel.clone(),
            started,
            cpu: Duration::from_millis(limits.cpu_ms),
            wall: Duration::from_millis(limits.wall_clock_ms),
        }
    }

    /// Whether the task may go on. Called on the thread that polls the task.
    ///
    /// # Errors
    /// The limit that it has passed.
    pub(crate) fn check(&self) -> Result<(), Passed> {
        let passed = if self.cancel.is_cancelled() {
            Passed::Stop
        } else if self.started.elapsed() > self.wall {
            Passed::WallClock
        } else if self.meter.used_now() > self.cpu {
            Passed::Cpu
        } else {
            return Ok(());
        };
        Err(self.pass(passed))
    }

    /// Notes that a limit was passed.
    pub(crate) fn pass(&self, passed: Passed) -> Passed {
        let _ = self.tripwire.trip(passed);
        passed
    }

    /// Makes the store yield at every tick, and trap once the task has to end.
    pub(crate) fn ticks<T: 'static>(&self, store: &mut Store<T>) {
        let watch = self.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            watch.check()?;
            Ok(UpdateDeadline::Yield(1))
        });
    }
}

/// Processor time of this thread in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Ticks without a task after which the ticker sleeps until there is one: waking it costs more than a short
/// task does, and a host without tasks should not wake a hundred times a second.
const IDLE_TICKS: u32 = 100;

/// The thread that advances the engine's epoch. It sleeps while there is nothing to do, and ends with the
/// runtime.
#[derive(Debug)]
pub(crate) struct Ticker {
    state: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct TickerState {
    running: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

impl Ticker {
    pub(crate) fn new(engine: Engine) -> Result<Self, RuntimeError> {
        let state = Arc::new(TickerState::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("proplet-epoch".to_owned())
            .spawn(move || tick(&engine, &shared))
            .map_err(|error| {
                RuntimeError::Host(format!("no thread for the epoch ticker: {error}"))
            })?;
        Ok(Self {
            state,
            thread: Some(thread),
        })
    }

    /// Ticks as long as the guard lives, and the guard keeps the thread.
    pub(crate) fn ticking(self: &Arc<Self>) -> Ticking {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
        Ticking(Arc::clone(self))
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

fn tick(engine: &Engine, state: &TickerState) {
    let mut idle = 0;
    while !state.ended.load(Ordering::SeqCst) {
        if idle < IDLE_TICKS {
            std::thread::park_timeout(TICK);
            engine.increment_epoch();
            let running = state.running.load(Ordering::SeqCst) > 0;
            idle = if running { 0 } else { idle + 1 };
            continue;
        }
        state.asleep.store(true, Ordering::SeqCst);
        // A task that began before that did not see it; one that begins after it leaves the thread a token,
        // which the park takes.
        if state.running.load(Ordering::SeqCst) == 0 && !state.ended.load(Ordering::SeqCst) {
            std::thread::park();
        }
        state.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It panics on nothing; were it to, there would be nothing to do about it here.
            let _ = thread.join();
        }
    }
}

/// Keeps the ticker going.
#[derive(Debug)]
pub(crate) struct Ticking(Arc<Ticker>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.state.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn waiting_uses_no_processor_time() {
        let meter = CpuMeter::default();
        meter
            .measure(pin!(tokio::time::sleep(Duration::from_millis(60))))
            .await;
        assert!(
            meter.used() < Duration::from_millis(30),
            "{:?}",
            meter.used()
        );
    }

    #[tokio::test]
    async fn computing_uses_processor_time() {
        let gauge = Gauge::default();
        let meter = CpuMeter::shown_on(gauge.clone());
        let inside = meter.clone();
        meter
            .measure(pin!(async move {
                while inside.used_now() < Duration::from_millis(20) {
                    std::hint::spin_loop();
                }
            }))
            .await;
        assert!(
            meter.used() >= Duration::from_millis(20),
            "{:?}",
            meter.used()
        );
        assert_eq!(gauge.cpu(), meter.used());
    }

    #[test]
    fn the_ticker_ends_when_it_is_dropped() {
        let engine = Engine::default();
        let ticker = Arc::new(Ticker::new(engine.clone()).unwrap());
        let state = Arc::downgrade(&ticker.state);
        drop(ticker.ticking());
        drop(ticker);
        assert_eq!(state.strong_count(), 0);
    }
}
