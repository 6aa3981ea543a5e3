//! The compilations that wait and run, and who waits for them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proplet_types::Digest;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::kept::{Cacheable, Kept};
use super::owner::Owner;
use super::queue::Queue;
use crate::error::RuntimeError;

/// What callers and compilations share.
pub(super) struct Shared<T> {
    wait: Duration,
    time: Duration,
    state: Mutex<State<T>>,
}

pub(super) struct State<T> {
    pub(super) kept: Kept<T>,
    pub(super) jobs: HashMap<Digest, Job<T>>,
    queue: Queue,
}

/// What compiles a component.
pub(super) type Compile<T> = Box<dyn FnOnce() -> Result<T, RuntimeError> + Send>;

/// A compilation that waits or runs.
pub(super) struct Job<T> {
    progress: watch::Sender<Progress<T>>,
    /// Until it begins.
    compile: Option<Compile<T>>,
    /// Whose threads it runs on: those of the last to ask for it, who is the likeliest to wait for it still.
    scheduler: Handle,
    /// It was forgotten while it ran, and nobody has asked since.
    pub(super) forgotten: bool,
}

/// How far a compilation is.
enum Progress<T> {
    Waiting,
    Running,
    Ended {
        code: Result<T, RuntimeError>,
        /// Whether whoever takes the code keeps it.
        is_kept: bool,
    },
}

/// What asking for code comes to.
pub(super) enum Asked<T: Cacheable> {
    Kept(T),
    Waits(Waiter<T>),
}

impl<T: Cacheable> Shared<T> {
    pub(super) fn new(kept: Kept<T>, queue: Queue, wait: Duration, time: Duration) -> Self {
        Self {
            wait,
            time,
            state: Mutex::new(State {
                kept,
                jobs: HashMap::new(),
                queue,
            }),
        }
    }

    /// Finds code, joins its compilation, or lets it wait for a place.
    ///
    /// # Errors
    /// [`RuntimeError::CompileBusy`].
    pub(super) fn ask(
        self: &Arc<Self>,
        digest: Digest,
        owner: &Owner,
        compile: Compile<T>,
    ) -> Result<Asked<T>, RuntimeError> {
        let scheduler = Handle::try_current().map_err(|_| over())?;
        let mut state = self.state();
        let State { kept, jobs, queue } = &mut *state;
        if let Some(code) = kept.find(&digest) {
            return Ok(Asked::Kept(code));
        }
        let progress = match jobs.entry(digest) {
            Entry::Occupied(mut job) => {
                let job = job.get_mut();
                job.forgotten = false;
                job.scheduler = scheduler;
                let progress = job.progress.subscribe();
                if job.compile.is_some() {
                    // Its owner's turn may come first. Without room it still waits where it stands.
                    if let Ok(Some(lost)) = queue.enter(owner, digest) {
                        state.refuse(&lost);
                    }
                }
                progress
            }
            Entry::Vacant(place) => {
                let lost = queue
                    .enter(owner, digest)
                    .map_err(|_| RuntimeError::CompileBusy)?;
                let (sender, progress) = watch::channel(Progress::Waiting);
                place.insert(Job {
                    progress: sender,
                    compile: Some(compile),
                    scheduler,
                    forgotten: false,
                });
                if let Some(lost) = lost {
                    state.refuse(&lost);
                }
                progress
            }
        };
        Ok(Asked::Waits(Waiter {
            digest,
            cache: Arc::clone(self),
            progress: Some(progress),
        }))
    }

    /// Begins what has its turn. Each runs for those who asked for it: whoever had the place before may be about to end
    /// with all that runs there.
    pub(super) fn begin(self: &Arc<Self>) {
        while let Some((scheduler, compile, mut running)) = self.next() {
            // Not with the lock held: a scheduler that shuts down drops what it is given.
            scheduler.spawn_blocking(move || {
                running.has_begun = true;
                let code = compile();
                running.end(code);
            });
        }
    }

    fn next(self: &Arc<Self>) -> Option<(Handle, Compile<T>, Running<T>)> {
        let mut state = self.state();
        loop {
            let (owner, digest) = state.queue.next()?;
            let job = state.jobs.get_mut(&digest);
            // There is one as long as it is in the queue.
            let Some((job, compile)) =
                job.and_then(|job| job.compile.take().map(|compile| (job, compile)))
            else {
                state.queue.free(&owner);
                continue;
            };
            job.progress.send_replace(Progress::Running);
            let running = Running {
                digest,
                owner,
                cache: Arc::clone(self),
                has_begun: false,
                has_ended: false,
            };
            return Some((job.scheduler.clone(), compile, running));
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Ends a compilation that lost its place in the queue.
    fn refuse(&mut self, digest: &Digest) {
        if let Some(job) = self.jobs.remove(digest) {
            job.progress.send_replace(Progress::Ended {
                code: Err(RuntimeError::CompileBusy),
                is_kept: false,
            });
        }
    }
}

/// Somebody who waits for code.
pub(super) struct Waiter<T: Cacheable> {
    digest: Digest,
    cache: Arc<Shared<T>>,
    /// None once it is dropped.
    progress: Option<watch::Receiver<Progress<T>>>,
}

impl<T: Cacheable> Waiter<T> {
    /// The code, when it is there.
    ///
    /// # Errors
    /// As [`Cache::get_or_compile`](super::Cache::get_or_compile).
    pub(super) async fn code(&mut self) -> Result<T, RuntimeError> {
        let Some(progress) = &mut self.progress else {
            return Err(over());
        };
        let begun = progress.wait_for(|progress| !matches!(progress, Progress::Waiting));
        match tokio::time::timeout(self.cache.wait, begun).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(over()),
            Err(_) => return Err(RuntimeError::CompileBusy),
        }
        let ended = progress.wait_for(|progress| matches!(progress, Progress::Ended { .. }));
        let Ok(ended) = tokio::time::timeout(self.cache.time, ended).await else {
            let limit = u64::try_from(self.cache.time.as_millis()).unwrap_or(u64::MAX);
            return Err(RuntimeError::LimitCompile(limit));
        };
        let (code, is_kept) = match ended.as_deref() {
            Ok(Progress::Ended { code, is_kept }) => (code.clone(), *is_kept),
            _ => return Err(over()),
        };
        // It is the task that takes the code which answers for its being here.
        if let (Ok(code), true) = (&code, is_kept) {
            self.cache.state().kept.keep(self.digest, code);
        }
        code
    }
}

impl<T: Cacheable> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.progress = None;
        let mut state = self.cache.state();
        // Whoever asks does so with the lock held.
        let is_alone = state
            .jobs
            .get(&self.digest)
            .is_some_and(|job| job.compile.is_some() && job.progress.receiver_count() == 0);
        if is_alone {
            state.jobs.remove(&self.digest);
            state.queue.leave(&self.digest);
        }
    }
}

/// A compilation that has a place. It ends with this, which goes with the thread that compiles.
struct Running<T: Cacheable> {
    digest: Digest,
    owner: Owner,
    cache: Arc<Shared<T>>,
    has_begun: bool,
    has_ended: bool,
}

impl<T: Cacheable> Running<T> {
    fn end(mut self, code: Result<T, RuntimeError>) {
        self.finish(code);
    }

    fn finish(&mut self, code: Result<T, RuntimeError>) {
        self.has_ended = true;
        let mut state = self.cache.state();
        state.queue.free(&self.owner);
        if let Some(job) = state.jobs.remove(&self.digest) {
            job.progress.send_replace(Progress::Ended {
                code,
                is_kept: !job.forgotten,
            });
        }
        drop(state);
        self.cache.begin();
    }
}

/// The compiler panicked, or the scheduler did not begin it any more.
impl<T: Cacheable> Drop for Running<T> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.finish(Err(match self.has_begun {
                true => RuntimeError::Host("the compiler panicked".to_owned()),
                false => over(),
            }));
        }
    }
}

/// There is no scheduler, or none any more.
fn over() -> RuntimeError {
    RuntimeError::Host("the runtime is shutting down".to_owned())
}
