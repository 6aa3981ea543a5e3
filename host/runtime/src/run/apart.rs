//! Where a guest runs: on the scheduler's threads, or apart from them.
//!
//! The scheduler's threads are few, and everything else needs them: the connection to the broker, the journal of tasks,
//! other tasks' results. A guest gives its thread back at the next tick at the latest, after some ten milliseconds; two
//! guests that compute all the time would so keep two threads, and each step of anybody else's task would wait for a
//! tick. So guests run on threads of their own, where the kernel sees to it that nobody waits long.
//!
//! To get there and back takes longer than the shortest tasks do. So an export whose latest runs were brief is run where
//! its task is, until one of its runs has taken longer than that: then this one goes on apart, all others of the export do
//! with their next step, and it takes twice as many brief runs as before until one is run here again. Whoever sends a
//! component that is brief at first and not later has so, for all its runs at once, one tick of each of the scheduler's
//! threads for eight brief runs, then for sixteen, and in the end for a thousand.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::cancel::CancelToken;
use crate::cpu::CpuMeter;
use crate::error::RuntimeError;
use crate::task::Outcome;

/// Runs that use less of a processor than this are brief.
const BRIEF: Duration = Duration::from_millis(1);
/// So many brief runs in a row make it likely that the next one is, to begin with.
const IN_A_ROW: u16 = 8;
/// The most that are ever asked for.
const MOST_IN_A_ROW: u16 = 1024;

/// What is known of the runs of one export.
#[derive(Debug)]
pub(crate) struct Experience {
    /// Brief runs in a row, up to those that it takes.
    brief: AtomicU16,
    /// How many it takes.
    needed: AtomicU16,
}

impl Default for Experience {
    fn default() -> Self {
        Self {
            brief: AtomicU16::new(0),
            needed: AtomicU16::new(IN_A_ROW),
        }
    }
}

impl Experience {
    /// Whether the next run is likely to be brief.
    fn is_brief(&self) -> bool {
        self.brief.load(Ordering::Relaxed) >= self.needed.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, used: Duration) {
        let was_likely = self.is_brief();
        if used >= BRIEF {
            self.brief.store(0, Ordering::Relaxed);
            if was_likely {
                let needed = self.needed.load(Ordering::Relaxed).saturating_mul(2);
                self.needed
                    .store(needed.min(MOST_IN_A_ROW), Ordering::Relaxed);
            }
        } else if !was_likely {
            self.brief.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Runs it where this is, for as long as it and all other runs of its export are brief. None when it has to go on apart.
pub(super) async fn here<R: Future>(
    run: &mut Pin<Box<R>>,
    meter: &CpuMeter,
    experience: &Experience,
) -> Option<R::Output> {
    poll_fn(|context| {
        if !experience.is_brief() {
            return Poll::Ready(None);
        }
        match run.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if meter.used() >= BRIEF => {
                experience.note(meter.used());
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
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
        if self.is_light {
            ended = here(&mut run, &self.meter, self.experience).await;
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
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread::ThreadId;

    use tokio::sync::Semaphore;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    /// That of an export which was brief often enough.
    fn earned() -> Experience {
        let experience = Experience::default();
        (0..IN_A_ROW).for_each(|_| experience.note(Duration::ZERO));
        experience
    }

    /// Takes so long of the processor, gives way once, and says on which threads it was before and after.
    fn run(
        meter: &CpuMeter,
        long: Duration,
        seen: std::sync::mpsc::Sender<ThreadId>,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let meter = meter.clone();
        async move {
            let work = async {
                let _ = seen.send(std::thread::current().id());
                while meter.used_now() < long {
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
        let mut runs = 0;
        while !experience.is_brief() {
            let here = is_here(&experience, true, Duration::ZERO).await;
            assert_eq!(here, (false, false));
            runs += 1;
        }
        assert!(runs >= IN_A_ROW, "{runs}");
        // One may be charged with what the machine did for others, and then it takes twice as many.
        let mut tries = 1;
        while is_here(&earned(), true, Duration::ZERO).await != (true, true) {
            assert!(tries < 10);
            tries += 1;
        }
        let experience = earned();
        // Not where the host has a lot to do in one go.
        let here = is_here(&experience, false, Duration::ZERO).await;
        assert_eq!(here, (false, false));
    }

    #[tokio::test]
    async fn what_takes_long_after_all_goes_on_apart_and_the_next_one_begins_there() {
        let experience = earned();
        let here = is_here(&experience, true, 50 * BRIEF).await;
        assert_eq!(here, (true, false));
        let here = is_here(&experience, true, Duration::ZERO).await;
        assert_eq!(here, (false, false));
    }

    #[test]
    fn each_time_it_takes_twice_as_many() {
        let experience = Experience::default();
        let earn = || {
            let mut runs = 0;
            while !experience.is_brief() {
                experience.note(Duration::ZERO);
                runs += 1;
            }
            experience.note(BRIEF);
            runs
        };
        let runs: Vec<u16> = (0..9).map(|_| earn()).collect();
        assert_eq!(runs, [8, 16, 32, 64, 128, 256, 512, 1024, 1024]);
        // One that is not run here anyway costs nothing more.
        experience.note(BRIEF);
        assert_eq!(earn(), 1024);
    }

    /// Runs that wait, and all compute at the same time.
    #[tokio::test]
    async fn of_all_that_have_begun_one_takes_long_here() {
        const RUNS: usize = 16;
        let experience = Arc::new(earned());
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let mut runs = JoinSet::new();
        for _ in 0..RUNS {
            let (experience, begun, gate) = (experience.clone(), begun.clone(), gate.clone());
            let meter = CpuMeter::default();
            let (sender, thread) = std::sync::mpsc::channel();
            let inside = meter.clone();
            let run = async move {
                let work = async {
                    begun.fetch_add(1, Ordering::Relaxed);
                    let _passed = gate.acquire().await;
                    let _ = sender.send(std::thread::current().id());
                    while inside.used_now() < 20 * BRIEF {
                        std::hint::spin_loop();
                    }
                    yield_now().await;
                };
                inside.measure(pin!(work)).await;
                Outcome::refused(RuntimeError::Stopped, String::new())
            };
            runs.spawn(async move {
                let placed = Placed {
                    run,
                    meter,
                    experience: &experience,
                    is_light: true,
                    export: "run",
                    cancel: &CancelToken::new(),
                };
                placed.finish().await;
                thread.recv().unwrap()
            });
        }
        while begun.load(Ordering::Relaxed) < RUNS {
            yield_now().await;
        }
        gate.add_permits(RUNS);
        let here = std::thread::current().id();
        let threads = runs.join_all().await;
        assert_eq!(threads.iter().filter(|thread| **thread == here).count(), 1);
    }
}
