//! The tasks of this proplet: those that run, and those that wait for a place.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use proplet_executor::{
    Executor, Refusal, Request, Source, TaskError, TaskOutcome, host_text, text::Known,
};
use proplet_outbox::{AcceptError, Answer, Journal, Number};
use proplet_runtime::CancelToken;
use proplet_settings::Settings;
use proplet_types::{Code, text::short_line};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::Instant,
};
use tracing::{error, info};

use crate::{
    message::ResultMessage,
    mqtt::outbox::{Letter, Outbox},
};

/// The longest text of a stranger in one line of the log, in characters.
const MAX_LOGGED: usize = 1024;

/// The answer to tasks that a shutdown ends or keeps out.
pub(super) fn stopping() -> Refusal {
    Refusal::new(
        Code::PropletStopping,
        "this proplet is shutting down; start the task again",
    )
}

/// Runs tasks, as many at once as the settings allow.
pub(super) struct Tasks {
    shared: Arc<Shared>,
    most: usize,
    most_bytes: usize,
    ended: watch::Receiver<usize>,
}

struct Shared {
    executor: Executor,
    journal: Journal,
    outbox: Outbox,
    entity: String,
    max_result_bytes: usize,
    plain_results: bool,
    places: Semaphore,
    known: Mutex<HashMap<String, Started>>,
    /// How many are known.
    count: watch::Sender<usize>,
    stopping: AtomicBool,
}

/// A task that runs or waits.
struct Started {
    cancel: CancelToken,
    /// What its request takes.
    bytes: usize,
}

impl Tasks {
    pub(super) fn new(
        settings: &Settings,
        entity: String,
        executor: Executor,
        journal: Journal,
        outbox: Outbox,
    ) -> Self {
        let (count, ended) = watch::channel(0);
        let shared = Arc::new(Shared {
            executor,
            journal,
            outbox,
            entity,
            max_result_bytes: settings.mqtt.max_result_bytes,
            plain_results: settings.outbox.plain_results,
            places: Semaphore::new(settings.limits.tasks),
            known: Mutex::default(),
            count,
            stopping: AtomicBool::new(false),
        });
        let most = settings.limits.tasks.saturating_add(settings.limits.queue);
        Self {
            shared,
            most,
            most_bytes: settings.limits.queue_bytes,
            ended,
        }
    }

    /// How many tasks run or wait.
    pub(super) fn count(&self) -> usize {
        *self.ended.borrow()
    }

    /// What the requests of all tasks take that run or wait, in bytes.
    fn held_bytes(&self) -> usize {
        self.shared
            .with(|known| known.values().map(|task| task.bytes).sum())
    }

    /// Whether a task of this id runs or waits.
    pub(super) fn is_known(&self, id: &str) -> bool {
        self.shared.with(|known| known.contains_key(id))
    }

    /// How many tasks run or wait, and changes of that.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.ended.clone()
    }

    /// Takes a task into the journal, and runs it as soon as there is a place. Does not wait for either:
    /// `accepted` is told when the task, or that it was refused, has its entry.
    pub(super) fn start(
        &mut self,
        request: Request,
        not_before: Instant,
        accepted: oneshot::Sender<()>,
    ) -> Result<(), Refusal> {
        if self.count() >= self.most {
            return Err(Refusal::new(
                Code::QueueFull,
                host_text!(
                    "{} tasks run or wait on this proplet already; start the task later or elsewhere, \
                     or raise [limits] queue",
                    self.most
                ),
            ));
        }
        let bytes = request.bytes();
        let held = self.held_bytes();
        if held > 0 && held.saturating_add(bytes) > self.most_bytes {
            return Err(Refusal::new(
                Code::QueueFull,
                host_text!(
                    "the start messages of the tasks that run or wait on this proplet take {} bytes, this \
                     one {}, and {} are allowed; start the task later or elsewhere, push the component as an \
                     image instead of sending it as `file`, or raise [limits] queue_bytes",
                    held,
                    bytes,
                    self.most_bytes
                ),
            ));
        }
        if let Source::Encrypted { image, .. } = &request.source {
            info!(
                "Encrypted workload with image_url: {}",
                short_line(image, MAX_LOGGED)
            );
        }
        let cancel = CancelToken::new();
        let started = Started {
            cancel: cancel.clone(),
            bytes,
        };
        self.shared
            .with(|known| known.insert(request.task.id.clone(), started));
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let id = request.task.id.clone();
            // Whatever happens below, the task does not stay in the table.
            let listed = Listed {
                shared: Arc::clone(&shared),
                id: id.clone(),
            };
            let is_sealed = matches!(request.source, Source::Encrypted { .. });
            let (number, outcome, accepted) = match shared.journal.accept(&id).await {
                Ok(number) => {
                    // Nobody waits when the message wanted no acknowledgement.
                    let _ = accepted.send(());
                    (Some(number), complete(&shared, request, cancel).await, None)
                }
                Err(error) => {
                    let refusal = TaskOutcome::failed(not_accepted(&error));
                    (None, refusal, Some(accepted))
                }
            };
            let letter = shared.letter(id, outcome, number, is_sealed, not_before);
            let place = shared.outbox.reserve_waiting(letter.payload.len()).await;
            place.put(letter, listed).await;
            drop(accepted);
        });
        Ok(())
    }

    /// Stops a task. False when there is none of this id.
    pub(super) fn stop(&mut self, id: &str) -> bool {
        self.shared.with(|known| match known.get(id) {
            Some(task) => {
                task.cancel.cancel();
                true
            }
            None => false,
        })
    }

    /// Stops all tasks.
    pub(super) fn stop_all(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared
            .with(|known| known.values().for_each(|task| task.cancel.cancel()));
    }

    /// Ends when no task is left.
    pub(super) async fn ended(&mut self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.ended.wait_for(|count| *count == 0).await;
    }
}

/// Why the journal did not take a task, for whoever sent it.
fn not_accepted(error: &AcceptError) -> Refusal {
    match error {
        AcceptError::Unavailable(trouble) => Refusal::new(
            Code::OutboxUnavailable,
            host_text!(
                "this proplet cannot record that it has the task: {}; start it later or elsewhere",
                Known::of_machine(trouble)
            ),
        ),
        AcceptError::AlreadyRun => Refusal::new(
            Code::AlreadyRun,
            "a task of this id was accepted before, and the settings let none run twice; start it under a new id",
        ),
    }
}

async fn complete(shared: &Arc<Shared>, request: Request, cancel: CancelToken) -> TaskOutcome {
    let running = tokio::spawn(run(Arc::clone(shared), request, cancel));
    running.await.unwrap_or_else(|_| {
        TaskOutcome::failed(Refusal::new(
            Code::HostFailed,
            "the task broke down inside the proplet; report it with the proplet's log",
        ))
    })
}

async fn run(shared: Arc<Shared>, request: Request, cancel: CancelToken) -> TaskOutcome {
    let place = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        place = shared.places.acquire() => place.ok(),
    };
    let Some(_place) = place else {
        return TaskOutcome::failed(Refusal::new(
            Code::Stopped,
            "the task was stopped before it began",
        ));
    };
    info!("Executing task {} in spawned task", request.task.id);
    shared.executor.execute(request, cancel).await
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<String, Started>) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut known);
        self.count.send_replace(known.len());
        changed
    }

    /// The answer to a task. What a sealed task says in clear is this host's words, so it may lie on the disk
    /// as it is; of others the disk has the code, unless the settings say otherwise.
    fn letter(
        &self,
        task: String,
        outcome: TaskOutcome,
        number: Option<Number>,
        is_sealed: bool,
        not_before: Instant,
    ) -> Letter {
        let (payload, code) = self.report(&task, outcome);
        let on_disk = if is_sealed || self.plain_results {
            Answer::Kept(payload.clone())
        } else {
            Answer::Unkept(code)
        };
        Letter {
            task,
            payload,
            not_before,
            number,
            on_disk,
        }
    }

    /// The message for an outcome, within the size that the broker takes, and its code if it failed.
    fn report(&self, id: &str, outcome: TaskOutcome) -> (Bytes, Option<Code>) {
        let TaskOutcome {
            results, mut error, ..
        } = outcome;
        if self.stopping.load(Ordering::Relaxed)
            && error
                .as_ref()
                .is_some_and(|error| error.code() == Code::Stopped)
        {
            error = Some(stopping().into());
        }
        match &error {
            None => info!("Task {id} completed successfully"),
            // What a plain component said is not shown by this.
            Some(error) => error!(
                "Task {id} failed: {}",
                short_line(&error.to_string(), MAX_LOGGED)
            ),
        }
        let code = error.as_ref().map(TaskError::code);
        let message = ResultMessage {
            task_id: id.to_owned(),
            proplet_id: self.entity.clone(),
            results,
            error: error.map(|error| error.full_text()),
        };
        let payload = message.to_payload();
        let size = payload.len();
        if size <= self.max_result_bytes {
            return (payload, code);
        }
        let refusal = Refusal::new(
            Code::ResultTooLarge,
            host_text!(
                "the results message has {} bytes and the broker takes {}; make the result \
                 smaller, or raise [mqtt] max_result_bytes if the broker takes more",
                size,
                self.max_result_bytes
            ),
        );
        error!("Task {id}: {refusal}");
        let report = ResultMessage::refused(id, &self.entity, &refusal);
        (report.to_payload(), Some(refusal.code()))
    }
}

/// Removes a task from the table when it is over.
struct Listed {
    shared: Arc<Shared>,
    id: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.with(|known| known.remove(&self.id));
    }
}
