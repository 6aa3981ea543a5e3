//! The course of a task: it is accepted, has its place, is admitted by the plugins, and runs.

use std::sync::Arc;

use proplet_audit::TaskLog;
use proplet_executor::{Refusal, Request, Source, TaskOutcome};
use proplet_outbox::Number;
use proplet_runtime::CancelToken;
use tokio::time::Instant;
use tracing::info;

use super::{
    Shared, daemons, latent,
    refusals::not_accepted,
    report::Done,
    table::{Progress, displaced},
};
use crate::{
    gate::Admitted,
    message::TaskKind,
    places::{Owner, Place},
};

/// Has a task in the journal, and where it has to be on record, there. Its chain is there from when it is made.
pub(super) async fn accept(
    shared: &Shared,
    request: &Request,
    kind: TaskKind,
    record: &mut Option<TaskLog>,
) -> Result<Number, Refusal> {
    let record = record.insert(shared.executor.accept(request));
    shared.record.accept(record).await?;
    let id = &request.task.id;
    let accepted = match kind {
        // The Manager starts it again when it made room or after a restart, and nothing of it ran.
        TaskKind::Latent => shared.journal.accept_repeatable(id).await,
        _ => shared.journal.accept(id).await,
    };
    accepted.map_err(|error| not_accepted(&error))
}

/// None: nothing is to be said of it.
pub(super) async fn complete(
    shared: &Arc<Shared>,
    request: Request,
    (kind, not_before): (TaskKind, Instant),
    cancel: CancelToken,
) -> Option<Done> {
    let shared = Arc::clone(shared);
    let running = match kind {
        TaskKind::Daemon => tokio::spawn(daemons::run(shared, request, not_before, cancel)),
        TaskKind::Task | TaskKind::Latent => {
            tokio::spawn(run(shared, request, (kind, not_before), cancel))
        }
    };
    running.await.unwrap_or_else(|_| Some(Done::broke_down()))
}

async fn run(
    shared: Arc<Shared>,
    mut request: Request,
    (kind, not_before): (TaskKind, Instant),
    cancel: CancelToken,
) -> Option<Done> {
    let id = request.task.id.clone();
    let place = match placed(&shared, &id, &cancel).await {
        Ok(place) => place,
        Err(done) => return Some(*done),
    };
    // Before plugins add anything to it: they are asked anew for every invocation.
    let start = (kind == TaskKind::Latent).then(|| latent::without_component(&request));
    let admitted = match shared.admit(&mut request, false, &cancel).await {
        Ok(admitted) => admitted,
        Err(done) => return Some(*done),
    };
    shared.gate.started(&admitted).await;
    let done = match start {
        None => {
            info!("Executing task {id} in spawned task");
            let _watching = shared.watched.watch(&request.task);
            let watch = request.task.watch.clone();
            let kept = daemons::kept(&request);
            let running = shared.executor.execute(request, cancel);
            tokio::pin!(running);
            let outcome = tokio::select! {
                biased;
                outcome = &mut running => outcome,
                result = watch.answers_http() => {
                    let _place = daemons::place_of_server(&shared, &id, kept, place);
                    // Whoever started it needs the port now.
                    tokio::select! {
                        biased;
                        outcome = &mut running => outcome,
                        () = shared.say_started(&id, &Owner::Plain, not_before, &result) => running.await,
                    }
                }
            };
            Some(Done::result(outcome))
        }
        Some(start) => latent::prepare(&shared, request, start, &cancel).await,
    };
    let nothing = TaskOutcome::default();
    let outcome = done.as_ref().map_or(&nothing, |done| &done.outcome);
    shared.gate.ended(admitted, outcome).await;
    done
}

/// Waits for the place of a task or invocation.
///
/// # Errors
/// Its end, when it is stopped or has to make room before that.
pub(super) async fn placed(
    shared: &Shared,
    key: &str,
    cancel: &CancelToken,
) -> Result<Place, Box<Done>> {
    let listed = shared.table.with(|known| {
        let task = known.get(key)?;
        Some((task.owner.clone(), task.displace.clone()))
    });
    let (owner, displace) = listed.unwrap_or((Owner::Plain, CancelToken::new()));
    let place = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(Box::new(Done::stopped_early())),
        () = displace.cancelled() => return Err(Box::new(Done::refused(displaced()))),
        place = shared.places.acquire(owner) => place,
    };
    let may_run = shared.table.with(|known| match known.get_mut(key) {
        Some(task) if task.state == Progress::Displaced => false,
        Some(task) => {
            task.state = Progress::Runs;
            true
        }
        None => true,
    });
    match may_run {
        true => Ok(place),
        false => Err(Box::new(Done::refused(displaced()))),
    }
}

impl Shared {
    /// Asks the plugins, for as long as the task is not stopped.
    pub(super) async fn admit(
        &self,
        request: &mut Request,
        is_daemon: bool,
        cancel: &CancelToken,
    ) -> Result<Admitted, Box<Done>> {
        let admitted = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Box::new(Done::stopped_early())),
            admitted = self.gate.admit(request, is_daemon) => admitted,
        };
        admitted.map_err(|refusal| Box::new(Done::refused(refusal)))
    }

    /// Whose a task is, as far as is known before it runs.
    pub(super) fn owner(&self, source: &Source) -> Owner {
        self.owner_of_image(match source {
            Source::Plain(_) | Source::File(_) => None,
            Source::Encrypted { image, .. } => Some(image),
        })
    }

    /// The same of the image of an encrypted one.
    pub(super) fn owner_of_image(&self, image: Option<&str>) -> Owner {
        let Some(image) = image else {
            return Owner::Plain;
        };
        let owner = self.executor.owner(image);
        owner.map_or(Owner::Unknown, Owner::Named)
    }
}
