//! Latent tasks that are prepared and wait to be invoked.
//!
//! There are only so many, and only so many bytes of code. When there is one too many, the one that was used longest
//! ago goes, of the owner who has the most: an owner with no more than an equal part loses nothing to the others. What
//! went is started again by the Manager when it is invoked, so nobody is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use proplet_executor::{
    Latent, Refusal, Request, Source, Watch, host_text,
    shares::{Bounds, Shares},
};
use proplet_runtime::CancelToken;
use proplet_settings::LatentTasks;
use proplet_types::Code;
use tracing::info;

use super::{Done, Progress, Shared};

/// A latent task that can be invoked.
pub(super) struct Prepared {
    pub latent: Latent,
    /// What it was started with. A component that came in the start message is not in it any more.
    start: Request,
}

impl Prepared {
    /// What one invocation is to do.
    pub(super) fn request(
        &self,
        inputs: Option<Vec<String>>,
        env: BTreeMap<String, String>,
    ) -> Request {
        let mut request = self.start.clone();
        if let Some(inputs) = inputs {
            request.task.inputs = inputs;
        }
        request.task.env.extend(env);
        // Nobody is told what one of many uses.
        request.task.watch = Watch::default();
        // Each has a chain of its own in the audit log.
        request.task.record = None;
        request
    }

    fn bytes(&self) -> u64 {
        let start = u64::try_from(self.start.bytes()).unwrap_or(u64::MAX);
        self.latent.code_bytes().saturating_add(start)
    }

    /// Who holds its room: as [`super::Owner`] has it, and no repository is called as one of the others.
    fn owner(&self) -> String {
        match self.latent.repository() {
            Some(repository) => format!("repository {repository}"),
            None => "plain".to_owned(),
        }
    }
}

/// The latent tasks that are prepared, by their ids.
pub(super) struct PreparedTasks {
    kept: Mutex<Shares<String, Arc<Prepared>>>,
    most_bytes: u64,
}

impl PreparedTasks {
    pub(super) fn new(settings: &LatentTasks) -> Self {
        Self {
            kept: Mutex::new(Shares::new(Bounds {
                entries: settings.tasks,
                bytes: settings.bytes,
            })),
            most_bytes: settings.bytes,
        }
    }

    /// The latent task of this id, which counts as used.
    pub(super) fn of(&self, id: &str) -> Option<Arc<Prepared>> {
        self.with(|kept| kept.get(&id.to_owned()).cloned())
    }

    /// Forgets a latent task. False when there is none.
    pub(super) fn forget(&self, id: &str) -> bool {
        self.with(|kept| !kept.extract(|known, _| known == id).is_empty())
    }

    /// Forgets this one, and none that was prepared since.
    pub(super) fn forget_this(&self, prepared: &Arc<Prepared>) {
        self.with(|kept| kept.extract(|_, known| Arc::ptr_eq(known, prepared)));
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.with(|kept| kept.extract(|_, _| true));
    }

    /// # Errors
    /// `component-too-large`, for what is larger than all that is kept.
    fn keep(&self, id: &str, prepared: Prepared) -> Result<(), Refusal> {
        let (bytes, owner) = (prepared.bytes(), prepared.owner());
        if bytes > self.most_bytes {
            return Err(Refusal::new(
                Code::ComponentTooLarge,
                host_text!(
                    "the latent task takes {} bytes, with its compiled code, and [latent_tasks] bytes is {}; raise it",
                    bytes,
                    self.most_bytes
                ),
            ));
        }
        let prepared = Arc::new(prepared);
        let gone = self.with(|kept| kept.put(id.to_owned(), &owner, bytes, prepared));
        for gone in gone {
            let gone = &gone.start.task.id;
            if gone != id {
                info!("Latent task {gone} makes room for {id}");
            }
        }
        Ok(())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shares<String, Arc<Prepared>>) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Prepares a latent task that has its place. None: it can be invoked from now on, and nothing is said.
pub(super) async fn prepare(
    shared: &Shared,
    request: Request,
    start: Request,
    cancel: &CancelToken,
) -> Option<Done> {
    let id = start.task.id.clone();
    info!("Preparing latent task {id}");
    let latent = match shared.executor.prepare_latent(request, cancel).await {
        Ok(latent) => latent,
        Err(outcome) => return Some(Done::result(*outcome)),
    };
    let prepared = Prepared { latent, start };
    let kept = shared.with(|known| {
        if cancel.is_cancelled() {
            return Err(Box::new(Done::stopped_early()));
        }
        if let Some(task) = known.get_mut(&id) {
            task.state = Progress::Prepared;
        }
        let kept = shared.prepared.keep(&id, prepared);
        kept.map_err(|refusal| Box::new(Done::refused(refusal)))
    });
    match kept {
        Ok(()) => {
            info!("Latent task {id} is prepared");
            None
        }
        Err(done) => Some(*done),
    }
}

/// What is kept of a start, for the invocations: all but a component that came with it.
pub(super) fn without_component(request: &Request) -> Request {
    Request {
        source: match &request.source {
            Source::File(_) => Source::File(Vec::new()),
            source => source.clone(),
        },
        task: request.task.clone(),
    }
}
