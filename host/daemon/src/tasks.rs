//! The tasks of this proplet: those that run, those that wait for a place, daemons, and latent ones
//! that wait to be invoked.

mod daemons;
mod invocations;
mod latent;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use proplet_audit::TaskLog;
use proplet_executor::{
    Executor, Refusal, Request, Source, TaskError, TaskOutcome, host_text, text::Known,
};
use proplet_outbox::{AcceptError, Answer, Journal, Number};
use proplet_runtime::CancelToken;
use proplet_settings::{DaemonTasks, Settings};
use proplet_types::{Code, text::short_line};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::{error, info};

pub(super) use self::invocations::MANAGER_WAITS;
use self::latent::PreparedTasks;
use crate::{
    gate::{Admitted, Gate},
    message::{InvocationId, ResultMessage, Round, Start, TaskKind},
    metrics::Watched,
    mqtt::outbox::{About, Kind, Letter, Outbox},
    places::{Owner, Place, Places},
    record::Record,
    repeats::Repeats,
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

/// The answer to a latent task that is stopped.
pub(super) fn stopped_latent() -> Refusal {
    Refusal::new(
        Code::Stopped,
        "the latent task was stopped; start it again to have it invoked",
    )
}

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
    most: usize,
    most_bytes: usize,
    started: u64,
    ended: watch::Receiver<usize>,
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
    /// By the ids of tasks, and [`InvocationId::key`].
    known: Mutex<HashMap<String, Started>>,
    /// How many are known.
    count: watch::Sender<usize>,
    stopping: AtomicBool,
}

/// What the form of an answer depends on.
struct Form {
    is_sealed: bool,
    round: Option<Round>,
}

/// A task or invocation that runs or waits.
struct Started {
    cancel: CancelToken,
    /// What its request takes.
    bytes: usize,
    owner: Owner,
    /// Its place among all that were started.
    order: u64,
    state: Progress,
    /// Ends the waiting of one that has to make room.
    displace: CancelToken,
}

impl Started {
    /// Whether it takes of what tasks have together.
    fn counts(&self) -> bool {
        !matches!(self.state, Progress::Displaced | Progress::Serves)
    }
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waits,
    Runs,
    /// It waited, and another owner's has its place.
    Displaced,
    /// It is latent, and can be invoked.
    Prepared,
    /// It is a daemon, which has a place of its own.
    Serves,
}

/// What tasks take that run or wait.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    tasks: usize,
    bytes: usize,
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
        let (count, ended) = watch::channel(0);
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
            known: Mutex::default(),
            count,
            stopping: AtomicBool::new(false),
        });
        let most = settings.limits.tasks.saturating_add(settings.limits.queue);
        Self {
            shared,
            most,
            most_bytes: settings.limits.queue_bytes,
            started: 0,
            ended,
        }
    }

    /// How many tasks run or wait.
    pub(super) fn count(&self) -> usize {
        *self.ended.borrow()
    }

    /// Whether a task of this id runs or waits, or an invocation that has this key.
    pub(super) fn is_known(&self, key: &str) -> bool {
        self.shared.with(|known| known.contains_key(key))
    }

    /// How many tasks run or wait, and changes of that.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.ended.clone()
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
        self.room(&owner, bytes)?;
        if let Source::Encrypted { image, .. } = &request.source {
            info!(
                "Encrypted workload with image_url: {}",
                short_line(image, MAX_LOGGED)
            );
        }
        let cancel = CancelToken::new();
        self.started = self.started.saturating_add(1);
        let started = Started {
            cancel: cancel.clone(),
            bytes,
            owner,
            order: self.started,
            state: Progress::Waits,
            displace: CancelToken::new(),
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
            let form = Form {
                is_sealed: matches!(request.source, Source::Encrypted { .. }),
                round: Round::of(&request),
            };
            let taken = tokio::select! {
                biased;
                // A breakdown is answered like one of the task itself.
                taken = AssertUnwindSafe(accept(&shared, &request, kind)).catch_unwind() => {
                    taken.unwrap_or_else(|_| Err(breakdown()))
                }
                // A disk that is slow or hangs keeps nobody from stopping it.
                () = cancel.cancelled() => Err(stopped_early()),
            };
            let (taken, done, accepted) = match taken {
                Ok((number, record)) => {
                    // Nobody waits when the message wanted no acknowledgement.
                    let _ = accepted.send(());
                    request.task.record = Some(record.clone());
                    match complete(&shared, request, (kind, not_before), cancel).await {
                        Some(done) => (Some((number, record)), done, None),
                        None => {
                            record.end(None);
                            // It can be invoked from now on, and nothing more is due.
                            shared.journal.forget(number);
                            return;
                        }
                    }
                }
                Err(refusal) => (None, Done::refused(refusal), Some(accepted)),
            };
            if done.kind == Kind::Refusal {
                // The next copy of this start is not one of a task that ran.
                shared.repeats.forget(&id);
            }
            let number = taken.as_ref().map(|(number, _)| *number);
            let (letter, code) = shared.letter(id, done.outcome, number, &form, not_before);
            if let Some((_, record)) = taken {
                Record::ended(&record, code);
            }
            let size = letter.payload.len();
            let place = match done.kind {
                Kind::Result => shared.outbox.reserve_waiting(size).await,
                Kind::Refusal => shared.outbox.reserve_refusal_waiting(size).await,
            };
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

    /// Room for a task of this owner. Where there is none, the owner with the most tasks gives up the one that came
    /// last of those that wait, if it has more than this one would. Where none of its tasks waits, this one may be over
    /// the count.
    fn room(&self, owner: &Owner, bytes: usize) -> Result<(), Refusal> {
        self.shared.with(|known| {
            loop {
                let held = Held::of(known.values());
                let total = held.bytes.saturating_add(bytes);
                let refusal = if held.tasks >= self.most {
                    queue_full(self.most)
                } else if held.tasks > 0 && total > self.most_bytes {
                    queue_bytes_full(held.bytes, bytes, self.most_bytes)
                } else {
                    return Ok(());
                };
                if !displace(known, owner, bytes) {
                    let most = Held {
                        tasks: self.most,
                        bytes: self.most_bytes,
                    };
                    return if is_over_the_count(known, owner, bytes, most) {
                        Ok(())
                    } else {
                        Err(refusal)
                    };
                }
            }
        })
    }

    /// Stops a task, and the invocations of a latent one.
    pub(super) fn stop(&mut self, id: &str) -> Stopped {
        self.shared.with(|known| {
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
        self.shared
            .with(|known| known.values().for_each(|task| task.cancel.cancel()));
    }

    /// Ends when no task is left.
    pub(super) async fn ended(&mut self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.ended.wait_for(|count| *count == 0).await;
    }
}

/// Has a task on record, and in the journal.
async fn accept(
    shared: &Shared,
    request: &Request,
    kind: TaskKind,
) -> Result<(Number, TaskLog), Refusal> {
    let record = shared.record.accept(&shared.executor, request).await?;
    let id = &request.task.id;
    let accepted = match kind {
        // The Manager starts it again when it made room or after a restart, and nothing of it ran.
        TaskKind::Latent => shared.journal.accept_repeatable(id).await,
        _ => shared.journal.accept(id).await,
    };
    match accepted {
        Ok(number) => Ok((number, record)),
        Err(error) => {
            let refusal = not_accepted(&error);
            record.end(Some(refusal.code().as_str()));
            Err(refusal)
        }
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

fn queue_full(most: usize) -> Refusal {
    Refusal::new(
        Code::QueueFull,
        host_text!(
            "{} tasks run or wait on this proplet already; start the task later or elsewhere, \
             or raise [limits] queue",
            most
        ),
    )
}

fn queue_bytes_full(held: usize, bytes: usize, most: usize) -> Refusal {
    Refusal::new(
        Code::QueueFull,
        host_text!(
            "the start messages of the tasks that run or wait on this proplet take {} bytes, this \
             one {}, and {} are allowed; start the task later or elsewhere, push the component as an \
             image instead of sending it as `file`, or raise [limits] queue_bytes",
            held,
            bytes,
            most
        ),
    )
}

fn displaced() -> Refusal {
    Refusal::new(
        Code::QueueFull,
        "as many tasks as the settings allow run or wait on this proplet, and tasks of another owner have their \
         part of the places; start the task later or elsewhere, or raise [limits] queue",
    )
}

fn stopped_early() -> Refusal {
    Refusal::new(Code::Stopped, "the task was stopped before it began")
}

impl Held {
    fn of<'a>(tasks: impl Iterator<Item = &'a Started>) -> Self {
        tasks
            .filter(|task| task.counts())
            .fold(Self::default(), |held, task| Self {
                tasks: held.tasks.saturating_add(1),
                bytes: held.bytes.saturating_add(task.bytes),
            })
    }

    /// What is left when a task is added.
    fn with(self, bytes: usize) -> Self {
        Self {
            tasks: self.tasks.saturating_add(1),
            bytes: self.bytes.saturating_add(bytes),
        }
    }
}

/// Has the task that came last of those that wait make room, of the owner that holds the most. False when nobody holds
/// more than this owner would.
fn displace(known: &mut HashMap<String, Started>, owner: &Owner, bytes: usize) -> bool {
    let held = held_by_owner(known);
    let own = held.get(owner).copied().unwrap_or_default().with(bytes);
    let is_larger = |other: &Held| {
        other.tasks > own.tasks || (other.tasks == own.tasks && other.bytes > own.bytes)
    };
    let largest = held
        .iter()
        .filter(|(other, held)| **other != owner && is_larger(held))
        .max_by_key(|(_, held)| (held.tasks, held.bytes))
        .map(|(other, _)| (*other).clone());
    let Some(largest) = largest else {
        return false;
    };
    let last = known
        .values_mut()
        .filter(|task| task.owner == largest && task.state == Progress::Waits)
        .max_by_key(|task| task.order);
    let Some(last) = last else {
        return false;
    };
    last.state = Progress::Displaced;
    last.displace.cancel();
    true
}

/// Whether a task of this owner is taken though there is no room. A task that ran stays among those that are known until
/// its answer is in the outbox, so whoever sends many brief ones can hold all of the room with tasks that cannot make any.
/// As with places, it is for owners only, as long as they hold no more than an equal part; and all together take no more
/// than twice the room.
fn is_over_the_count(
    known: &HashMap<String, Started>,
    owner: &Owner,
    bytes: usize,
    most: Held,
) -> bool {
    let held = held_by_owner(known);
    let own = held.get(owner).copied().unwrap_or_default().with(bytes);
    let owners = held
        .len()
        .saturating_add(usize::from(!held.contains_key(owner)));
    let all = Held::of(known.values()).with(bytes);
    owner.is_named()
        && own.tasks <= most.tasks / owners
        && own.bytes <= most.bytes / owners
        && all.tasks <= most.tasks.saturating_mul(2)
        && all.bytes <= most.bytes.saturating_mul(2)
}

/// What each owner's tasks take.
fn held_by_owner(known: &HashMap<String, Started>) -> HashMap<&Owner, Held> {
    let mut held: HashMap<&Owner, Held> = HashMap::new();
    for task in known.values() {
        if task.counts() {
            let of_owner = held.entry(&task.owner).or_default();
            *of_owner = of_owner.with(task.bytes);
        }
    }
    held
}

/// How a task that was taken ended.
struct Done {
    outcome: TaskOutcome,
    kind: Kind,
}

impl Done {
    /// It was not run.
    fn refused(refusal: Refusal) -> Self {
        Self {
            outcome: TaskOutcome::failed(refusal),
            kind: Kind::Refusal,
        }
    }

    /// It was stopped while it waited.
    fn stopped_early() -> Self {
        Self::result(TaskOutcome::failed(stopped_early()))
    }

    /// It ran, or began to.
    fn result(outcome: TaskOutcome) -> Self {
        Self {
            outcome,
            kind: Kind::Result,
        }
    }
}

/// None: nothing is to be said of it.
async fn complete(
    shared: &Arc<Shared>,
    request: Request,
    (kind, not_before): (TaskKind, Instant),
    cancel: CancelToken,
) -> Option<Done> {
    let shared = Arc::clone(shared);
    let running = match kind {
        TaskKind::Daemon => tokio::spawn(daemons::run(shared, request, not_before, cancel)),
        TaskKind::Task | TaskKind::Latent => tokio::spawn(run(shared, request, kind, cancel)),
    };
    running.await.unwrap_or_else(|_| Some(broke_down()))
}

fn broke_down() -> Done {
    Done::result(TaskOutcome::failed(breakdown()))
}

fn breakdown() -> Refusal {
    Refusal::new(
        Code::HostFailed,
        "the task broke down inside the proplet; report it with the proplet's log",
    )
}

async fn run(
    shared: Arc<Shared>,
    mut request: Request,
    kind: TaskKind,
    cancel: CancelToken,
) -> Option<Done> {
    let id = request.task.id.clone();
    let _place = match placed(&shared, &id, &cancel).await {
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
            let outcome = shared.executor.execute(request, cancel).await;
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
async fn placed(shared: &Shared, key: &str, cancel: &CancelToken) -> Result<Place, Box<Done>> {
    let listed = shared.with(|known| {
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
    let may_run = shared.with(|known| match known.get_mut(key) {
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
    async fn admit(
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

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<String, Started>) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut known);
        self.count.send_replace(known.len());
        changed
    }

    /// Whose a task is, as far as is known before it runs.
    fn owner(&self, source: &Source) -> Owner {
        match source {
            Source::Plain(_) | Source::File(_) => Owner::Plain,
            Source::Encrypted { image, .. } => {
                let owner = self.executor.owner(image);
                owner.map_or(Owner::Unknown, Owner::Named)
            }
        }
    }

    /// The answer to a task, and its code if it failed. What a sealed task says in clear is this host's words, so it may lie on the disk
    /// as it is; of others the disk has the code, unless the settings say otherwise.
    fn letter(
        &self,
        task: String,
        outcome: TaskOutcome,
        number: Option<Number>,
        form: &Form,
        not_before: Instant,
    ) -> (Letter, Option<Code>) {
        let (payload, code) = self.report(&task, outcome, form.round.as_ref());
        let on_disk = if form.is_sealed || self.plain_results {
            Answer::Kept(payload.clone())
        } else {
            Answer::Unkept(code)
        };
        let letter = Letter {
            task,
            about: About::Task,
            payload,
            not_before,
            number,
            on_disk,
        };
        (letter, code)
    }

    /// The message for an outcome, within the size that the broker takes, and its code if it failed.
    fn report(
        &self,
        id: &str,
        outcome: TaskOutcome,
        round: Option<&Round>,
    ) -> (Bytes, Option<Code>) {
        let TaskOutcome { results, error, .. } = outcome;
        let error = self.final_error(error);
        match &error {
            None => info!("Task {id} completed successfully"),
            // What a plain component said is not shown by this.
            Some(error) => error!(
                "Task {id} failed: {}",
                short_line(&error.to_string(), MAX_LOGGED)
            ),
        }
        let code = error.as_ref().map(TaskError::code);
        let payload = match (round, error) {
            (Some(round), None) => round.payload(id, &self.entity, &results),
            (_, error) => ResultMessage {
                task_id: id.to_owned(),
                proplet_id: self.entity.clone(),
                results,
                error: error.map(|error| error.full_text()),
            }
            .to_payload(),
        };
        let Some(refusal) = self.too_large(payload.len()) else {
            return (payload, code);
        };
        error!("Task {id}: {refusal}");
        let report = ResultMessage::refused(id, &self.entity, &refusal);
        (report.to_payload(), Some(refusal.code()))
    }

    /// Why a task failed, for the Manager: what a shutdown stops says so.
    fn final_error(&self, error: Option<TaskError>) -> Option<TaskError> {
        let is_stopped = |error: &TaskError| error.code() == Code::Stopped;
        match error {
            Some(error) if self.stopping.load(Ordering::Relaxed) && is_stopped(&error) => {
                Some(stopping().into())
            }
            error => error,
        }
    }

    /// Why a message of this size is not sent.
    fn too_large(&self, size: usize) -> Option<Refusal> {
        if size <= self.max_result_bytes {
            return None;
        }
        Some(Refusal::new(
            Code::ResultTooLarge,
            host_text!(
                "the results message has {} bytes and the broker takes {}; make the result \
                 smaller, or raise [mqtt] max_result_bytes if the broker takes more",
                size,
                self.max_result_bytes
            ),
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn started(owner: &Owner, order: u64, state: Progress) -> Started {
        Started {
            cancel: CancelToken::new(),
            bytes: 1,
            owner: owner.clone(),
            order,
            state,
            displace: CancelToken::new(),
        }
    }

    fn displaced_ids(known: &HashMap<String, Started>) -> Vec<&str> {
        let displaced = known
            .iter()
            .filter(|(_, task)| task.state == Progress::Displaced);
        let mut ids: Vec<_> = displaced.map(|(id, _)| id.as_str()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_last_of_the_largest_owner_makes_room_and_nobody_is_left_with_less() {
        let (many, few) = (Owner::Plain, Owner::Named("few".into()));
        let mut known = HashMap::new();
        for order in 0..8 {
            let state = if order < 2 {
                Progress::Runs
            } else {
                Progress::Waits
            };
            known.insert(order.to_string(), started(&many, order, state));
        }
        // Nobody makes room for a task of its own owner.
        assert!(!displace(&mut known, &many, 1));
        for order in 8..20 {
            if displace(&mut known, &few, 1) {
                let task = started(&few, order, Progress::Waits);
                known.insert(order.to_string(), task);
            }
        }
        // Four each; the other way round there is nothing to take.
        assert_eq!(displaced_ids(&known), ["4", "5", "6", "7"]);
        assert!(!displace(&mut known, &many, 1));
        assert!(known["7"].displace.is_cancelled() && !known["3"].displace.is_cancelled());
    }

    #[test]
    fn what_runs_is_left_alone() {
        let (many, few) = (Owner::Unknown, Owner::Plain);
        let mut known: HashMap<_, _> = (0..8)
            .map(|order| (order.to_string(), started(&many, order, Progress::Runs)))
            .collect();
        assert!(!displace(&mut known, &few, 1));
    }

    #[test]
    fn an_owner_has_its_part_where_nobody_can_make_room() {
        let most = Held { tasks: 8, bytes: 8 };
        let many = (0..8).map(|order| started(&Owner::Plain, order, Progress::Runs));
        let mut known: HashMap<_, _> = many
            .enumerate()
            .map(|(order, task)| (order.to_string(), task))
            .collect();
        for other in [Owner::Plain, Owner::Unknown] {
            assert!(!is_over_the_count(&known, &other, 1, most));
        }
        // Equal parts: four of eight between two, two between three and four.
        for (name, part) in [("a", 4), ("b", 2), ("c", 2)] {
            let owner = Owner::Named(name.into());
            assert!(!is_over_the_count(&known, &owner, 9, most), "too large");
            for order in 0..part {
                assert!(is_over_the_count(&known, &owner, 1, most), "{name} {order}");
                let task = started(&owner, order, Progress::Waits);
                known.insert(format!("{name}-{order}"), task);
            }
            assert!(!is_over_the_count(&known, &owner, 1, most), "{name}");
        }
        // All room is taken twice.
        assert_eq!(Held::of(known.values()).tasks, 16);
        let late = Owner::Named("d".into());
        assert!(!is_over_the_count(&known, &late, 1, most));
    }
}
