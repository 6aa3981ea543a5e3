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

use super::{Shared, report::Done, table::Progress};
use crate::places::Owner;

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

    /// Checks such a request before it is made.
    ///
    /// # Errors
    /// `task-invalid`.
    pub(super) fn check(
        &self,
        inputs: Option<&[String]>,
        env: &BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        self.start.check_with(inputs, env)
    }

    /// What such a request takes at most, before it is made.
    pub(super) fn request_bytes(
        &self,
        inputs: Option<&[String]>,
        env: &BTreeMap<String, String>,
    ) -> usize {
        self.start.bytes_with(inputs, env)
    }

    fn bytes(&self) -> u64 {
        let start = u64::try_from(self.start.bytes()).unwrap_or(u64::MAX);
        self.latent.code_bytes().saturating_add(start)
    }

    /// Whose its invocations are: the owner that its key has, wherever its reference has led since.
    pub(super) fn charged(&self) -> Owner {
        charged(self.latent.repository())
    }

    /// Who holds its room: as [`Owner`] has it, and no repository is called as one of the others.
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

    /// Whose a latent task is that is there. Who asks does not use it.
    pub(super) fn owner_of(&self, id: &str) -> Option<Owner> {
        self.with(|kept| {
            let mut all = kept.iter();
            let (_, prepared) = all.find(|(known, _)| *known == id)?;
            Some(prepared.charged())
        })
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
    /// `component-too-large`, for what is larger than all that is kept, or than what others leave.
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
        let gone = self.with(|kept| put(kept, id, &owner, bytes, Arc::new(prepared)));
        let gone = gone.map_err(|NoRoom| no_room(bytes, self.most_bytes))?;
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

/// What was put in went at once: the others keep theirs, since its owner would hold more than any of them.
#[derive(Debug, PartialEq, Eq)]
struct NoRoom;

/// Keeps what can be invoked, and gives what had to go for it.
fn put<T>(
    kept: &mut Shares<String, Arc<T>>,
    id: &str,
    owner: &str,
    bytes: u64,
    prepared: Arc<T>,
) -> Result<Vec<Arc<T>>, NoRoom> {
    let gone = kept.put(id.to_owned(), owner, bytes, Arc::clone(&prepared));
    match gone.iter().any(|gone| Arc::ptr_eq(gone, &prepared)) {
        true => Err(NoRoom),
        false => Ok(gone),
    }
}

fn no_room(bytes: u64, most: u64) -> Refusal {
    Refusal::new(
        Code::ComponentTooLarge,
        host_text!(
            "the latent task takes {} bytes, with its compiled code, and of the {} bytes of [latent_tasks] bytes others \
             hold what is theirs; start it elsewhere, stop latent tasks, or raise it",
            bytes,
            most
        ),
    )
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
    let kept = shared.table.with(|known| {
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

/// Who is charged for a component that was opened with a key of this repository; none for a plain one.
pub(super) fn charged(repository: Option<&str>) -> Owner {
    match repository {
        Some(repository) => Owner::Named(repository.into()),
        None => Owner::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(entries: usize, bytes: u64) -> Shares<String, Arc<String>> {
        Shares::new(Bounds { entries, bytes })
    }

    fn named(id: &str) -> Arc<String> {
        Arc::new(id.to_owned())
    }

    #[test]
    fn what_does_not_fit_beside_the_others_is_refused_and_not_thrown_away() {
        let mut kept = shares(8, 512);
        for id in ["one", "two"] {
            put(&mut kept, id, "plain", 100, named(id)).unwrap();
        }
        let large = put(&mut kept, "large", "repository a", 400, named("large"));
        assert_eq!(large, Err(NoRoom));
        assert_eq!(kept.iter().count(), 2);
        let refusal = no_room(400, 512);
        assert_eq!(refusal.code(), "component-too-large");
        assert!(refusal.words().contains("others hold"), "{refusal}");
        assert!(!refusal.words().contains("has not been precompiled"));
    }

    #[test]
    fn among_equals_the_one_that_is_kept_last_stays() {
        for (first, second) in [("plain", "repository a"), ("repository a", "plain")] {
            let mut kept = shares(1, 512);
            put(&mut kept, "old", first, 100, named("old")).unwrap();
            let gone = put(&mut kept, "new", second, 100, named("new"));
            assert_eq!(gone.unwrap(), [named("old")]);
            assert!(kept.get(&"new".to_owned()).is_some());
        }
    }

    #[test]
    fn an_earlier_one_of_the_same_id_makes_no_refusal() {
        let mut kept = shares(1, 512);
        put(&mut kept, "same", "plain", 100, named("same")).unwrap();
        let again = put(&mut kept, "same", "plain", 100, named("same"));
        assert_eq!(again.unwrap().len(), 1);
    }

    #[test]
    fn invocations_are_charged_to_the_owner_of_the_key() {
        assert_eq!(charged(Some("alice")), Owner::Named("alice".into()));
        assert_eq!(charged(None), Owner::Plain);
    }
}
