//! Where a guest runs: on the scheduler's threads, or apart from them.
//!
//! The scheduler's threads are few, and everything else needs them: the connection to the broker, the journal of tasks,
//! other tasks' results. A guest gives its thread back at the next tick at the latest, after some ten milliseconds; two
//! guests that compute all the time would so keep two threads, and each step of anybody else's task would wait for a
//! tick. So guests run on threads of their own, where the kernel sees to it that nobody waits long.
//!
//! To get there and back takes longer than the shortest tasks do. So an export whose latest runs were brief is run where
//! its task is, until it has once taken longer than that: then it goes on apart, and so do its next runs. Whoever sends
//! components that are brief at first and not later has a tick of one thread for that many runs.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::cancel::CancelToken;
use crate::cpu::CpuMeter;
use crate::error::RuntimeError;
use crate::task::Outcome;

/// Runs that use less of a processor than this are brief.
const BRIEF: Duration = Duration::from_millis(1);
/// So many brief runs in a row make it likely that the next one is.
const IN_A_ROW: u8 = 8;

/// What is known of the runs of one export.
#[derive(Debug, Default)]
pub(crate) struct Experience(AtomicU8);

impl Experience {
    /// Whether the next run is likely to be brief.
    fn is_brief(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= IN_A_ROW
    }

    fn note(&self, used: Duration) {
        if used >= BRIEF {
            self.0.store(0, Ordering::Relaxed);
        } else if !self.is_brief() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A run, and what decides where it is to be.
pub(super) struct Placed<'a, R> {
    pub(super) run: R,
    /// Of the run.
    pub(super) meter: CpuMeter,
    /// Of the export.
    pub(super) experience: &'a Experience,
    /// Whether the host's part of it, which does not give way, takes no more than a moment.
    pub(super) is_light: bool,
    pub(super) export: &'a str,
    pub(super) cancel: &'a CancelToken,
}

impl<R: Future<Output = Outcome> + Send + 'static> Placed<'_, R> {
    /// Runs it to its end.
    pub(super) async fn finish(self) -> Outcome {
        let mut run = Box::pin(self.run);
        let mut ended = None;
        if self.is_light && self.experience.is_brief() {
            ended = poll_fn(|context| match run.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if self.meter.used() >= BRIEF => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await;
        }
        let outcome = match ended {
            Some(outcome) => outcome,
            None => apart(run, self.export, self.cancel.clone()).await,
        };
        self.experience.note(self.meter.used());
        outcome
    }
}

/// Runs a task on a thread of its own, where it may hold up nobody.
async fn apart(
    run: impl Future<Output = Outcome> + Send + 'static,
    export: &str,
    cancel: CancelToken,
) -> Outcome {
    let scheduler = Handle::current();
    let mut stop = StopOnDrop(Some(cancel));
    let run = tokio::task::spawn_blocking(move || scheduler.block_on(run)).await;
    stop.0 = None;
    run.unwrap_or_else(|_| {
        let error = RuntimeError::Host("the thread of the task panicked".to_owned());
        Outcome::refused(error, export.to_owned())
    })
}

/// Stops a task whose caller is gone.
struct StopOnDrop(Option<CancelToken>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::thread::ThreadId;

    use super::*;

    /// Takes so long of the processor, gives way once, and says on which threads it was before and after.
    fn run(
        meter: &CpuMeter,
        long: Duration,
        seen: std::sync::mpsc::Sender<ThreadId>,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let meter = meter.clone();
        async move {
            let began = std::time::Instant::now();
            let work = async {
                let _ = seen.send(std::thread::current().id());
                while began.elapsed() < long {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
                let _ = seen.send(std::thread::current().id());
            };
            meter.measure(pin!(work)).await;
            Outcome::refused(RuntimeError::Stopped, String::new())
        }
    }

    /// Whether a run was here before it gave way, and afterwards.
    async fn is_here(experience: &Experience, is_light: bool, long: Duration) -> (bool, bool) {
        let meter = CpuMeter::default();
        let (seen, threads) = std::sync::mpsc::channel();
        let placed = Placed {
            run: run(&meter, long, seen),
            meter,
            experience,
            is_light,
            export: "run",
            cancel: &CancelToken::new(),
        };
        placed.finish().await;
        let here = std::thread::current().id();
        let is_here = || threads.recv().unwrap() == here;
        (is_here(), is_here())
    }

    #[tokio::test]
    async fn what_was_brief_often_enough_runs_here() {
        let experience = Experience::default();
        for _ in 0..IN_A_ROW {
            let here = is_here(&experience, true, Duration::ZERO).await;
            assert_eq!(here, (false, false));
        }
        let here = is_here(&experience, true, Duration::ZERO).await;
        assert_eq!(here, (true, true));
        // Not where the host has a lot to do in one go.
        let here = is_here(&experience, false, Duration::ZERO).await;
        assert_eq!(here, (false, false));
    }

    #[tokio::test]
    async fn what_takes_long_after_all_goes_on_apart_and_the_next_one_begins_there() {
        let experience = Experience(AtomicU8::new(IN_A_ROW));
        let here = is_here(&experience, true, 50 * BRIEF).await;
        assert_eq!(here, (true, false));
        let here = is_here(&experience, true, Duration::ZERO).await;
        assert_eq!(here, (false, false));
    }
}
