//! From a request to an outcome.
//!
//! An [`Executor`] knows nothing of MQTT: the daemon feeds it with messages, `proplet run` and the
//! benchmarks call it directly. A task takes one of two roads, and which one is fixed by its
//! [`Source`]: the plain road never sees the key broker, and the encrypted road never falls
//! back to the plain one.
//!
//! What leaves for an encrypted task is a sealed document and a [`Refusal`]. Text of a guest (its traps, its
//! standard error, the names of its exports) goes into the sealed document only; [`text`] says why.
//!
//! Three lifetimes, one inside the other, and a folder for each:
//!
//! | | lives as long as | is |
//! | --- | --- | --- |
//! | `process` | the process | engine, registries, key broker, what is kept warm |
//! | `workload` | a key broker session, for an encrypted one | [`Workload`]: a component with all that was decided about it |
//! | `run` | one task | its secrets, its result, its receipt |
#![deny(missing_docs)]

pub mod binding;
pub mod certificates;
mod flight;
pub mod harden;
mod identity;
mod in_clear;
mod outcome;
mod process;
mod quotes;
pub mod refusal;
pub mod request;
mod run;
pub mod text;
mod workload;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proplet_hal::{TeeName, TeeProvider};
use proplet_image::ImageError;
use proplet_kbs::KbsError;
use proplet_runtime::{CancelToken, RuntimeError};
use proplet_settings::Settings;
use proplet_types::{Clock, SystemClock};
use thiserror::Error;

use self::{
    binding::BindingRule,
    harden::{Swap, SwapRule},
    process::Process,
};
pub use self::{
    outcome::{TaskError, TaskOutcome},
    process::Readiness,
    refusal::Refusal,
    request::{Request, Source, Task},
    workload::Workload,
};

/// The executor could not be set up.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// A file that the settings name cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key broker client.
    #[error(transparent)]
    Kbs(#[from] KbsError),
    /// The registry client.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The engine.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Something that this process makes for itself.
    #[error("the executor cannot be set up: {0}")]
    Setup(String),
}

/// The machine that tasks run on, as far as it decides about them.
pub struct Host {
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The TEE, or a fake. None refuses encrypted tasks.
    pub provider: Option<Arc<dyn TeeProvider>>,
    /// A TEE that was found, for the words of a refusal when there is no provider for it.
    pub detected: Option<TeeName>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Whether there is swap.
    pub swap: Swap,
    /// What swap means.
    pub swap_rule: SwapRule,
    /// When unbound settings refuse.
    pub binding_rule: BindingRule,
}

impl Host {
    /// This machine, with the rules of production.
    #[must_use]
    pub fn new(settings: Arc<Settings>, provider: Option<Arc<dyn TeeProvider>>) -> Self {
        Self {
            settings,
            provider,
            detected: None,
            clock: Arc::new(SystemClock),
            swap: Swap::probe(Path::new("/proc/swaps")),
            swap_rule: SwapRule::default(),
            binding_rule: BindingRule::default(),
        }
    }
}

/// Runs tasks. Clones share everything.
#[derive(Clone)]
pub struct Executor(Arc<Process>);

impl Executor {
    /// Sets everything up; nothing is contacted yet.
    ///
    /// # Errors
    /// [`ExecutorError`].
    pub fn new(host: Host) -> Result<Self, ExecutorError> {
        Ok(Self(Arc::new(Process::new(host)?)))
    }

    /// Runs one task to its end: [`Executor::prepare`] and [`Executor::run`]. Cancelling ends it with the
    /// code `stopped`.
    ///
    /// When the session that released the component ends before it runs, it is prepared once more, so that
    /// the key broker decides anew.
    pub async fn execute(&self, request: Request, cancel: CancelToken) -> TaskOutcome {
        let started = self.0.clock.now();
        let again = match &request.source {
            source @ Source::Encrypted { .. } => Some(source.clone()),
            Source::Plain(_) | Source::File(_) => None,
        };
        let mut prepared = self.prepare(request.source, &cancel).await;
        if let (Ok(workload), Some(source)) = (&prepared, again)
            && workload.has_ended()
        {
            prepared = self.prepare(source, &cancel).await;
        }
        match prepared {
            Ok(workload) => self.0.run(&workload, request.task, started, cancel).await,
            Err(refusal) => TaskOutcome::failed(refusal),
        }
    }

    /// Gets a component ready: fetched, decrypted, checked and compiled, or found ready. Nothing of it is
    /// instantiated.
    ///
    /// A component that does not compile is a workload too, whose runs fail: for an encrypted one the reason
    /// is for its recipients only, and they are known now.
    ///
    /// # Errors
    /// The refusal of the task.
    pub async fn prepare(
        &self,
        source: Source,
        cancel: &CancelToken,
    ) -> Result<Arc<Workload>, Refusal> {
        unless_stopped(cancel, self.0.prepare(source)).await
    }

    /// Runs a workload once. It can be run any number of times, several at once, for as long as the key
    /// broker session that released it lives; afterwards the task fails with `session-ended`.
    pub async fn run(&self, workload: &Workload, task: Task, cancel: CancelToken) -> TaskOutcome {
        let started = self.0.clock.now();
        self.0.run(workload, task, started, cancel).await
    }

    /// Whether encrypted tasks will be taken, and why not. Asks the TEE once.
    pub async fn readiness(&self) -> Readiness {
        self.0.readiness().await
    }

    /// Forgets keys, secrets and code whose key broker session has ended. The daemon calls it every
    /// second, so that they do not wait in memory for a task that never comes.
    pub fn forget_expired(&self) {
        self.0.forget_expired();
    }
}

/// Ends with the work, or with the refusal of a stopped task.
async fn unless_stopped<T>(
    cancel: &CancelToken,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Refusal::from(&RuntimeError::Stopped)),
        done = work => done,
    }
}
