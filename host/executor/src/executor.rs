//! From a request to an outcome, in one call or in two.

use std::sync::Arc;

use proplet_audit::{Audit, Event, TaskLog};
use proplet_hal::{Flavour, TeeProvider};
use proplet_image::{KeySource, PullPolicy};
use proplet_runtime::CancelToken;
use proplet_types::{Code, ResourceUri};
use zeroize::Zeroizing;

use crate::{
    error::ExecutorError,
    for_others,
    host::Host,
    ledger::Ledger,
    manner::Manner,
    outcome::TaskOutcome,
    process::{CredentialError, KeyBrokerState, Process, Readiness},
    refusal::Refusal,
    request::{Request, Source, Task},
    stopped::unless_stopped,
    workload::Workload,
};

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
    pub async fn execute(&self, mut request: Request, cancel: CancelToken) -> TaskOutcome {
        let own = match &request.task.record {
            Some(_) => None,
            None => Some(self.accept(&request)),
        };
        if let Some(own) = &own {
            own.begin();
            request.task.record = Some(own.clone());
        }
        let started = self.0.clock.now();
        let (task, manner) = (request.task, Manner::Task);
        let ledger = self.ledger(&task);
        let outcome = match self.prepare_to_run(request.source, &cancel, &ledger).await {
            Ok(workload) => Box::pin(self.0.run(&workload, task, manner, started, cancel)).await,
            Err(refusal) => TaskOutcome::failed(refusal),
        };
        if let Some(own) = own {
            own.end(outcome.code().map(Code::as_str));
        }
        outcome
    }

    /// The chain of a task in the audit log, which begins as soon as there is more to say than that the task was taken.
    /// Whoever calls this gives it to the task, and ends it.
    #[must_use]
    pub fn accept(&self, request: &Request) -> TaskLog {
        let encrypted = matches!(request.source, Source::Encrypted { .. });
        let accepted = Event::Accepted { encrypted };
        self.0.audit.expect(&request.task.id, accepted)
    }

    /// Where it is put on record what is asked for on behalf of a task.
    pub(crate) fn ledger(&self, task: &Task) -> Ledger {
        match &task.record {
            Some(record) => Ledger::Task(record.clone()),
            None => Ledger::Boot(self.0.audit.clone()),
        }
    }

    /// As [`Executor::prepare`], and once more when the session ended meanwhile.
    pub(crate) async fn prepare_to_run(
        &self,
        source: Source,
        cancel: &CancelToken,
        ledger: &Ledger,
    ) -> Result<Arc<Workload>, Refusal> {
        // Futures are as large as the largest of their ways, and all lie on the stack of whoever polls the outermost: what
        // a pull takes is to be on the heap.
        let prepare = |source| unless_stopped(cancel, Box::pin(self.0.prepare(source, ledger)));
        let again = match &source {
            source @ Source::Encrypted { .. } => Some(source.clone()),
            Source::Plain(_) | Source::File(_) => None,
        };
        let prepared = prepare(source).await;
        match (&prepared, again) {
            (Ok(workload), Some(source)) if workload.has_ended() => prepare(source).await,
            _ => prepared,
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
        let ledger = Ledger::Boot(self.0.audit.clone());
        unless_stopped(cancel, Box::pin(self.0.prepare(source, &ledger))).await
    }

    /// Runs a workload once. It can be run any number of times, several at once, for as long as the key
    /// broker session that released it lives; afterwards the task fails with `session-ended`.
    pub async fn run(&self, workload: &Workload, task: Task, cancel: CancelToken) -> TaskOutcome {
        let started = self.0.clock.now();
        let run = self.0.run(workload, task, Manner::Task, started, cancel);
        run.await
    }

    pub(crate) fn process(&self) -> &Process {
        &self.0
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Whether encrypted tasks will be taken, and why not. Asks the TEE once.
    pub async fn readiness(&self) -> Readiness {
        self.0.readiness().await
    }

    /// The TEE, for others than this host and its components: they wait for it among the guests, so that no
    /// handshake of this host waits for more than one of them.
    #[must_use]
    pub fn tee_for_others(&self) -> Option<Arc<dyn TeeProvider>> {
        self.0.tee_for_others()
    }

    /// The flavour of the VM image that this host runs in.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.0.flavour
    }

    /// What opens key packets for others: the keys that the key broker releases to this VM, and which of them are
    /// asked for. None where the settings take encrypted tasks.
    #[must_use]
    pub fn keys_for_others(&self) -> Option<(Arc<dyn KeySource>, PullPolicy)> {
        for_others::keys(&self.0)
    }

    /// A credential of this host, which `setting` says is this resource of the key broker. Asked once, in the
    /// host's own session; whoever asks again decides when.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub async fn credential(
        &self,
        setting: &'static str,
        uri: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        self.0.credentials.fetch(setting, uri).await
    }

    /// Passes unless this machine will never be released the credential of a setting.
    ///
    /// # Errors
    /// [`CredentialError`], with the code of what is missing.
    pub fn check_credential(&self, setting: &'static str) -> Result<(), CredentialError> {
        self.0.credentials.check(setting)
    }

    /// Fetches the credentials for registries, where the key broker has them, unless they are here. Pulls do so
    /// by themselves; asked for before, a mistake shows before a task meets it.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub async fn fetch_registry_credentials(&self) -> Result<(), CredentialError> {
        match &self.0.sources.registry_credentials {
            Some(credentials) => credentials.first().await.map(drop),
            None => Ok(()),
        }
    }

    /// Passes unless the settings name credentials for registries that this machine will never be released.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn check_registry_credentials(&self) -> Result<(), CredentialError> {
        match &self.0.sources.registry_credentials {
            Some(credentials) => credentials.check(),
            None => Ok(()),
        }
    }

    /// Whose an encrypted image is: the repository of the key that it was opened with last. None before that.
    #[must_use]
    pub fn owner(&self, image: &str) -> Option<Arc<str>> {
        let confidential = self.0.confidential.as_ref().ok()?;
        confidential.owners.of(image)
    }

    /// How the key broker was when it was asked last. Asks nobody.
    #[must_use]
    pub fn key_broker(&self) -> KeyBrokerState {
        match &self.0.confidential {
            Ok(confidential) => confidential.host.vault.state(),
            Err(_) => KeyBrokerState::NotConfigured,
        }
    }

    /// Forgets keys, secrets and code whose key broker session has ended. The daemon calls it every
    /// second, so that they do not wait in memory for a task that never comes.
    pub fn forget_expired(&self) {
        self.0.forget_expired();
    }
}
