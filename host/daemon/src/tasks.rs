//! The tasks of this proplet: those that run, those that wait for a place, daemons, and latent ones
//! that wait to be invoked.

mod course;
mod daemons;
mod invocations;
mod latent;
mod refusals;
mod report;
mod table;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use proplet_executor::{Executor, Refusal, Source};
use proplet_outbox::Journal;
use proplet_settings::{DaemonTasks, Settings};
use proplet_types::text::short_line;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::info;

pub(super) use self::{
    invocations::MANAGER_WAITS,
    refusals::{stopped_latent, stopping},
};
use self::{
    latent::PreparedTasks,
    refusals::{breakdown, stopped_early},
    report::{Done, Form},
    table::{Held, Progress, Table},
};
use crate::{
    gate::Gate,
    message::{InvocationId, Round, Start},
    metrics::Watched,
    mqtt::outbox::{Kind, Outbox},
    places::{Owner, Places},
    record::Record,
    repeats::Repeats,
};

/// The longest text of a stranger in one line of the log, in characters.
const MAX_LOGGED: usize = 1024;

/// What a stop met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// A task, which ends and is answered.
    Task,
    /// A latent task that was prepared. Its start has no answer so far.
    Latent,
    /// Nothing.
    Nothing,
}

/// Runs tasks, as many at once as the settings allow.
pub(super) struct Tasks {
    shared: Arc<Shared>,
    /// How many run or wait.
    count: watch::Receiver<usize>,
}

/// What tasks are run with.
pub(super) struct Parts {
    pub entity: String,
    pub executor: Executor,
    pub journal: Journal,
    pub outbox: Outbox,
    pub repeats: Repeats,
    pub gate: Gate,
    pub record: Record,
    pub watched: Watched,
}

struct Shared {
    executor: Executor,
    journal: Journal,
    outbox: Outbox,
    gate: Gate,
    record: Record,
    watched: Watched,
    entity: String,
    max_result_bytes: usize,
    plain_results: bool,
    places: Places,
    repeats: Repeats,
    /// Latent tasks that can be invoked.
    prepared: PreparedTasks,
    /// How long an invocation may take.
    invocation: Duration,
    /// For daemons.
    daemon_places: Places,
    daemons: DaemonTasks,
    table: Table,
    stopping: AtomicBool,
}

impl Tasks {
    pub(super) fn new(settings: &Settings, parts: Parts) -> Self {
        let Parts {
            entity,
            executor,
            journal,
            outbox,
            repeats,
            gate,
            record,
            watched,
        } = parts;
        let table = Table::new(Held {
            tasks: settings.limits.tasks.saturating_add(settings.limits.queue),
            bytes: settings.limits.queue_bytes,
        });
        let count = table.count();
        let shared = Arc::new(Shared {
            executor,
            journal,
            outbox,
            gate,
            record,
            watched,
            entity,
            max_result_bytes: settings.mqtt.max_result_bytes,
            plain_results: settings.outbox.plain_results,
            places: Places::new(settings.limits.tasks),
            repeats,
            prepared: PreparedTasks::new(&settings.latent_tasks),
            invocation: settings.latent_tasks.invocation,
            daemon_places: Places::new(settings.daemon_tasks.tasks),
            daemons: settings.daemon_tasks,
            table,
            stopping: AtomicBool::new(false),
        });
        Self { shared, count }
    }

    /// How many tasks run or wait.
    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Whether a task of this id runs or waits, or an invocation that has this key.
    pub(super) fn is_known(&self, key: &str) -> bool {
        self.shared.table.has(key)
    }

    /// How many of them wait for a place.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let waits = |task: &&table::Started| task.state == Progress::Waits;
        let table = &self.shared.table;
        table.with(|known| known.values().filter(waits).count())
    }

    /// How many tasks run or wait, and changes of that.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.count.clone()
    }

    /// Whose a task is, as far as is known before it runs.
    pub(super) fn owner(&self, source: &Source) -> Owner {
        self.shared.owner(source)
    }

    /// Takes a task into the journal, and runs it as soon as there is a place. Does not wait for either:
    /// `accepted` is told when the task, or that it was refused, has its entry.
    pub(super) fn start(
        &mut self,
        start: Start,
        not_before: Instant,
        accepted: oneshot::Sender<()>,
    ) -> Result<(), Refusal> {
        let Start { mut request, kind } = start;
        let owner = self.shared.owner(&request.source);
        let bytes = request.bytes();
        self.shared.table.room(&owner, bytes)?;
        if let Source::Encrypted { image, .. } = &request.source {
            info!(
                "Encrypted workload with image_url: {}",
                short_line(image, MAX_LOGGED)
            );
        }
        let id = request.task.id.clone();
        // Whatever happens below, the task does not stay in the table.
        let (listed, cancel) = self.shared.table.put(id.clone(), owner, bytes);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let form = Form {
                image: match &request.source {
                    Source::Encrypted { image, .. } => Some(image.clone()),
                    Source::Plain(_) | Source::File(_) => None,
                },
                round: Round::of(&request),
            };
            let mut record = None;
            let accept = course::accept(&shared, &request, kind, &mut record);
            let taken = tokio::select! {
                biased;
                // A breakdown is answered like one of the task itself.
                taken = AssertUnwindSafe(accept).catch_unwind() => {
                    taken.unwrap_or_else(|_| Err(breakdown()))
                }
                // A disk that is slow or hangs keeps nobody from stopping it.
                () = cancel.cancelled() => Err(stopped_early()),
            };
            let (number, done, accepted) = match taken {
                Ok(number) => {
                    // Nobody waits when the message wanted no acknowledgement.
                    let _ = accepted.send(());
                    request.task.record = record.clone();
                    match course::complete(&shared, request, (kind, not_before), cancel).await {
                        Some(done) => (Some(number), done, None),
                        None => {
                            // It can be invoked from now on, and nothing more is due.
                            shared.record.ended(&id, record.as_ref(), None);
                            shared.journal.forget(number);
                            return;
                        }
                    }
                }
                Err(refusal) => {
                    // Its answer may wait for room for long, and what it takes is counted no more by then.
                    drop(request);
                    (None, Done::refused(refusal), Some(accepted))
                }
            };
            if done.kind == Kind::Refusal {
                // The next copy of this start is not one of a task that ran.
                shared.repeats.forget(&id);
            }
            let (letter, code) = shared.letter(id, done.outcome, number, &form, not_before);
            shared.record.ended(&letter.task, record.as_ref(), code);
            let size = letter.payload.len();
            let room = shared
                .outbox
                .reserve_waiting(&letter.owner, done.kind, size);
            let place = room.await;
            let task = letter.task.clone();
            let is_kept = place.put(letter, listed).await;
            if accepted.is_some() && !is_kept {
                // Neither the disk nor the broker has the refusal so far: the start is still the broker's.
                shared.outbox.answered(&task).await;
            }
            drop(accepted);
        });
        Ok(())
    }

    /// Stops a task, and the invocations of a latent one.
    pub(super) fn stop(&mut self, id: &str) -> Stopped {
        self.shared.table.with(|known| {
            for (_, task) in known
                .iter()
                .filter(|(key, _)| InvocationId::is_key_of(key, id))
            {
                task.cancel.cancel();
            }
            let was_prepared = self.shared.prepared.forget(id);
            match known.get(id) {
                Some(task) if task.state != Progress::Prepared => {
                    task.cancel.cancel();
                    Stopped::Task
                }
                _ if was_prepared => Stopped::Latent,
                _ => Stopped::Nothing,
            }
        })
    }

    /// Stops all tasks.
    pub(super) fn stop_all(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.prepared.clear();
        let table = &self.shared.table;
        table.with(|known| known.values().for_each(|task| task.cancel.cancel()));
    }

    /// Ends when no task is left.
    pub(super) async fn ended(&mut self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.count.wait_for(|count| *count == 0).await;
    }
}
