//! Invocations of latent tasks: each with an instance of its own, in a place among the tasks, and in time.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use proplet_audit::TaskLog;
use proplet_executor::{Invoked, Refusal, Request, TaskError, TaskOutcome, host_text, text::Known};
use proplet_outbox::Answer;
use proplet_runtime::CancelToken;
use proplet_types::{Code, text::short_line};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::{
    MAX_LOGGED, Shared, Tasks, course::placed, latent::Prepared, report::Done, table::Listed,
};
use crate::{
    message::{InvocationId, Invoke, InvokeResultMessage},
    mqtt::outbox::{About, Letter},
    places::Owner,
};

/// How long the Manager waits for the answer to an invocation. It drops what comes later.
pub(crate) const MANAGER_WAITS: Duration = Duration::from_secs(30);
/// How long an invocation that is ended may take to say so.
const ENDING: Duration = Duration::from_secs(1);

impl Tasks {
    /// Whose a latent task is that can be invoked. Nobody vouches for others.
    pub(crate) fn owner_of_latent(&self, id: &str) -> Owner {
        let owner = self.shared.prepared.owner_of(id);
        owner.unwrap_or(Owner::Plain)
    }

    /// Invokes a latent task, as soon as there is a place. Its message was here at `received`.
    ///
    /// # Errors
    /// The refusal, which is to be its answer.
    pub(crate) fn invoke(&mut self, invoke: Invoke, received: Instant) -> Result<(), Refusal> {
        let Invoke { id, inputs, env } = invoke;
        let prepared = self.shared.prepared.of(&id.task);
        let prepared = prepared.ok_or_else(|| not_precompiled(&id.task))?;
        // Before anybody makes room for it.
        prepared.check(inputs.as_deref(), &env)?;
        let owner = prepared.charged();
        let bytes = prepared.request_bytes(inputs.as_deref(), &env);
        // Before anything of a start is copied, which may be large.
        self.shared.table.room(&owner, bytes)?;
        let request = prepared.request(inputs, env);
        // Whatever happens below, the invocation does not stay in the table.
        let (listed, cancel) = self.shared.table.put(id.key(), owner, bytes);
        let invocation = Invocation {
            shared: Arc::clone(&self.shared),
            id,
            prepared,
            cancel,
            record: Arc::default(),
        };
        tokio::spawn(invocation.answer(request, received, listed));
        Ok(())
    }
}

/// One invocation.
#[derive(Clone)]
struct Invocation {
    shared: Arc<Shared>,
    id: InvocationId,
    prepared: Arc<Prepared>,
    cancel: CancelToken,
    /// Its chain in the audit log, once it has one.
    record: Arc<OnceLock<TaskLog>>,
}

impl Invocation {
    /// Runs it, and puts its answer into the outbox.
    async fn answer(self, request: Request, received: Instant, listed: Listed) {
        let shared = Arc::clone(&self.shared);
        let id = self.id.clone();
        let deadline = received + shared.invocation;
        let until = received + MANAGER_WAITS;
        let record = Arc::clone(&self.record);
        let owner = self.prepared.charged();
        let done = self.in_time(request, deadline).await;
        let (payload, code) = shared.invocation_report(&id, done.outcome);
        // Where it could not be given up, what comes of it later is on record behind this.
        shared.record.ended(&id.task, record.get(), code);
        let letter = Letter {
            task: id.task.clone(),
            payload,
            about: About::Invocation {
                id: id.clone(),
                until,
            },
            owner,
            not_before: received,
            number: None,
            on_disk: Answer::Unkept(None),
        };
        let size = letter.payload.len();
        let room = shared
            .outbox
            .reserve_waiting(&letter.owner, done.kind, size);
        let room = timeout_at(until, room).await;
        match room {
            Ok(place) => drop(place.put(letter, listed).await),
            Err(_) => warn!("The outbox had no room in time for the answer to invocation {id}"),
        }
    }

    /// Runs it, and ends it when its time is over.
    async fn in_time(self, request: Request, deadline: Instant) -> Done {
        let cancel = self.cancel.clone();
        let mut running = tokio::spawn(self.on_record(request));
        if let Ok(joined) = timeout_at(deadline, &mut running).await {
            return joined.unwrap_or_else(|_| Done::broke_down());
        }
        cancel.cancel();
        match timeout(ENDING, running).await {
            Ok(joined) => late(joined.unwrap_or_else(|_| Done::broke_down())),
            // What it waits for cannot be given up; its end has no reader.
            Err(_) => Done::result(TaskOutcome::failed(timed_out())),
        }
    }

    /// Runs it with a chain of its own in the audit log, which ends with the answer.
    async fn on_record(self, mut request: Request) -> Done {
        let shared = Arc::clone(&self.shared);
        // Each invocation comes here once.
        let record = self.record.get_or_init(|| shared.executor.accept(&request));
        if let Err(refusal) = shared.record.accept(record).await {
            return Done::refused(refusal);
        }
        request.task.record = Some(record.clone());
        self.run(request).await
    }

    async fn run(self, mut request: Request) -> Done {
        let Self {
            shared,
            id,
            prepared,
            cancel,
            ..
        } = self;
        let _place = match placed(&shared, &id.key(), &cancel).await {
            Ok(place) => place,
            Err(done) => return *done,
        };
        let admitted = match shared.admit(&mut request, false, &cancel).await {
            Ok(admitted) => admitted,
            Err(done) => return *done,
        };
        shared.gate.started(&admitted).await;
        info!("Executing invocation {id}");
        let invoked =
            shared
                .executor
                .invoke(&prepared.latent, &id.invocation, request.task, cancel);
        let done = match invoked.await {
            Invoked::Ran(outcome) => Done::result(outcome),
            Invoked::Refused(refusal) => {
                if is_denial(refusal.code()) {
                    info!("Latent task {} is dropped: {}", id.task, refusal.code());
                    shared.prepared.forget_this(&prepared);
                }
                Done::refused(refusal)
            }
        };
        shared.gate.ended(admitted, &done.outcome).await;
        done
    }
}

impl Shared {
    /// The message for what became of an invocation, within the size that the broker takes, and its code if it failed.
    fn invocation_report(&self, id: &InvocationId, outcome: TaskOutcome) -> (Bytes, Option<Code>) {
        let error = self.final_error(outcome.error);
        match &error {
            None => info!("Invocation {id} completed successfully"),
            // What a plain component said is not shown by this.
            Some(error) => warn!(
                "Invocation {id} failed: {}",
                short_line(&error.to_string(), MAX_LOGGED)
            ),
        }
        let code = error.as_ref().map(TaskError::code);
        let payload = InvokeResultMessage {
            task_id: id.task.clone(),
            invocation_id: id.invocation.clone(),
            proplet_id: self.entity.clone(),
            results: outcome.results,
            error: error.map(|error| error.full_text()),
        }
        .to_payload();
        match self.too_large(payload.len()) {
            None => (payload, code),
            Some(refusal) => {
                warn!("Invocation {id}: {refusal}");
                let report = InvokeResultMessage::refused(id, &self.entity, &refusal);
                (report.to_payload(), Some(refusal.code()))
            }
        }
    }
}

/// Whether a component that was refused is not to be tried again: the key broker said no, or its key is another one now.
/// Everything else may pass.
pub(super) fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::KbsDenied
            | Code::KbsNotFound
            | Code::KbsEvidenceRejected
            | Code::KbsForeignHost
            | Code::ImageKeyMismatch
            | Code::ImageHmacMismatch
            | Code::ImagePlainDigestMismatch
    )
}

/// What was ended because its time was over says so. What a sealed failure holds stays.
fn late(done: Done) -> Done {
    let is_ended = |error: &proplet_executor::TaskError| error.code() == Code::Stopped;
    if !done.outcome.error.as_ref().is_some_and(is_ended) {
        return done;
    }
    Done::result(TaskOutcome {
        error: Some(timed_out().into()),
        ..done.outcome
    })
}

/// The Manager looks for these words, and starts the task again where it finds them.
fn not_precompiled(id: &str) -> Refusal {
    Refusal::new(
        Code::NotPrecompiled,
        host_text!(
            "task {} has not been precompiled on this proplet, or made room for others since; start it with `latent` \
             first",
            Known::of_request(id)
        ),
    )
}

fn timed_out() -> Refusal {
    Refusal::new(
        Code::InvocationTimeout,
        "the invocation could not be done before the Manager gives up; invoke it again, make the component faster, or \
         start it as a task",
    )
}
