//! What the daemon does with each message.

mod invoking;

use std::{sync::Arc, time::Duration};

use proplet_executor::Refusal;
use proplet_outbox::{Answer, Recovered};
use proplet_settings::Settings;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tracing::{error, info};

use crate::{
    answer,
    image_proxy::Images,
    message::{BadStart, Decoded, ResultMessage, Start, Stop, Topics, topics::Command},
    mqtt::{
        Received,
        acknowledge::Acknowledgements,
        outbox::{About, Kind, Letter, Outbox},
    },
    places::Owner,
    record::Record,
    repeats::Repeats,
    sparing::{Sparing, warn_sparingly},
    supervisor::Probe,
    tasks::{self, Stopped, Tasks},
};

/// How long tasks may take to end once they are told to.
const STOPPING: Duration = Duration::from_secs(10);
/// So many refusals may wait for room in the outbox, and so many ends of latent tasks. Their messages are not acknowledged
/// meanwhile, and a connection has no more packet ids than these (MQTT 3.1.1, section 2.3.1), whatever window a broker keeps.
const WAITING: usize = u16::MAX as usize;

/// The receiving side of a daemon.
pub(super) struct Service {
    pub topics: Topics,
    pub entity: String,
    pub tasks: Tasks,
    /// Images that come in chunks.
    pub images: Option<Arc<Images>>,
    pub outbox: Outbox,
    pub repeats: Repeats,
    /// The same of invocations: however many there are, starts are remembered.
    pub invocations: Repeats,
    pub record: Record,
    pub acknowledgements: Acknowledgements,
    /// What an earlier process left.
    pub recovered: mpsc::UnboundedReceiver<Recovered>,
    /// Who asks whether messages are obeyed.
    pub probes: mpsc::Receiver<Probe>,
    pub settings: Arc<Settings>,
    pub waiting_room: WaitingRoom,
    /// For lines that every stranger can cause.
    pub sparing: Sparing,
}

/// Where answers wait for room in the outbox. However many refusals do, whoever's start was taken has a place here.
pub(super) struct WaitingRoom {
    refusals: Arc<Semaphore>,
    ends: Arc<Semaphore>,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        Self {
            refusals: Arc::new(Semaphore::new(WAITING)),
            ends: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

impl Service {
    /// Obeys messages until `shutdown` ends. Then it tells all tasks to end, and waits for them for as long as
    /// is allowed; starts that are under way are still answered.
    pub(super) async fn serve(
        &mut self,
        mut messages: mpsc::Receiver<Received>,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // First, so that no start comes before what is known of its id.
                Some(found) = self.recovered.recv() => self.recover(found),
                Some(probe) = self.probes.recv() => drop(probe),
                message = messages.recv() => match message {
                    Some(message) => self.receive(message, false).await,
                    None => break,
                },
            }
        }
        info!(
            "Shutting down: {} tasks are running or waiting",
            self.tasks.count()
        );
        self.tasks.stop_all();
        let deadline = Instant::now() + STOPPING;
        // Starts that were under way are still answered, and the connection must not wait for us.
        loop {
            tokio::select! {
                () = self.tasks.ended() => break,
                () = tokio::time::sleep_until(deadline) => {
                    error!("{} tasks did not end in time", self.tasks.count());
                    break;
                }
                Some(probe) = self.probes.recv() => drop(probe),
                Some(message) = messages.recv() => self.receive(message, true).await,
            }
        }
        self.probes.close();
        tokio::spawn(async move { while messages.recv().await.is_some() {} });
    }

    /// Answers a task of an earlier process.
    fn recover(&mut self, found: Recovered) {
        let not_before = Instant::now() + self.settings.results_not_before;
        self.repeats.remember(&found.entry.task);
        if found.entry.answer.is_none() {
            self.record.interrupted(&found.entry.task);
        }
        let letter = answer::recovered(found, &self.entity, not_before);
        self.outbox.recovered(letter);
    }

    async fn receive(&mut self, message: Received, stopping: bool) {
        let ready = self.obey(&message, stopping).await;
        self.acknowledgements.push(message.receipt, ready);
    }

    /// Does what a message says. It may be acknowledged when what is returned ends; at once when nothing is.
    async fn obey(&mut self, message: &Received, stopping: bool) -> Option<oneshot::Receiver<()>> {
        let not_before = message.at + self.settings.results_not_before;
        // Until then it is the broker's.
        let may_wait = message.receipt.is_some();
        let command = self.topics.command(&message.topic);
        if message.retained && command.is_some() {
            warn_sparingly!(
                self.sparing,
                "A retained message on {} is ignored, because it may have been obeyed before; remove it \
                 from the broker by publishing an empty retained message there",
                message.topic
            );
            return None;
        }
        match command? {
            Command::Start => match Decoded::from_bytes(&message.payload, &self.entity) {
                Decoded::NotForUs => None,
                Decoded::Bad(bad) => self.bad_start(bad, not_before, may_wait).await,
                Decoded::Task(start) => {
                    let id = &start.request.task.id;
                    if self.repeats.is_repeated(message, id) {
                        info!("The broker delivered the start of task {id} twice");
                        return None;
                    }
                    if self.is_pending(id).await {
                        warn_sparingly!(
                            self.sparing,
                            "Task {id} runs already or its answer is on its way; the repeated start is ignored"
                        );
                        return None;
                    }
                    // Not before that: it would write over the answer of a task that still ends.
                    if stopping {
                        let owner = self.tasks.owner(&start.request.source);
                        return self.refuse(id, owner, &tasks::stopping(), not_before, may_wait);
                    }
                    self.start(*start, not_before, may_wait)
                }
            },
            Command::Stop => {
                let stop = Stop::from_bytes(&message.payload, &self.entity)?;
                self.stop(&stop, not_before)
            }
            Command::Invoke => self.invoke(message, stopping, may_wait).await,
            Command::Chunk => {
                if let Some(images) = &self.images {
                    images.chunk(&message.payload);
                }
                None
            }
        }
    }

    fn start(
        &mut self,
        start: Start,
        not_before: Instant,
        may_wait: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let id = start.request.task.id.clone();
        let owner = self.tasks.owner(&start.request.source);
        self.repeats.remember(&id);
        let (accepted, ready) = oneshot::channel();
        match self.tasks.start(start, not_before, accepted) {
            Ok(()) => {
                info!("Received start command for task: {id}");
                Some(ready)
            }
            Err(refusal) => {
                self.repeats.forget(&id);
                self.refuse(&id, owner, &refusal, not_before, may_wait)
            }
        }
    }

    /// Whether a task of this id, or an invocation that has this key, waits or runs, or the broker has not acknowledged
    /// its answer.
    async fn is_pending(&self, id: &str) -> bool {
        let is_pending = || self.tasks.is_known(id) || self.outbox.is_waiting(id);
        if !is_pending() {
            return false;
        }
        self.outbox.settled().await;
        is_pending()
    }

    async fn bad_start(
        &self,
        bad: BadStart,
        not_before: Instant,
        may_wait: bool,
    ) -> Option<oneshot::Receiver<()>> {
        match bad.id {
            // A hostile repetition of a running task's id must not end that task in the Manager's books.
            Some(id) if self.is_pending(&id).await => {
                warn_sparingly!(
                    self.sparing,
                    "A start command that cannot be read repeats the running task {id}; ignored"
                );
                None
            }
            Some(id) => self.refuse(&id, Owner::Plain, &bad.refusal, not_before, may_wait),
            None => {
                warn_sparingly!(
                    self.sparing,
                    "A start command without a readable id cannot be answered: {}",
                    bad.refusal
                );
                None
            }
        }
    }

    /// Answers a start that is not run; what is returned ends when the answer is on the disk. Where the outbox has no
    /// room, that is when it has some, if the message waits for its acknowledgement.
    fn refuse(
        &self,
        id: &str,
        owner: Owner,
        refusal: &Refusal,
        not_before: Instant,
        may_wait: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let letter = self.refusal(id, owner, refusal, not_before);
        self.put(letter, Kind::Refusal, may_wait)
    }

    /// Says that a start is not run, or not any more.
    fn refusal(&self, id: &str, owner: Owner, refusal: &Refusal, not_before: Instant) -> Letter {
        warn_sparingly!(self.sparing, "Task {id} refused: {refusal}");
        self.record.refused(id, refusal.code());
        let payload = ResultMessage::refused(id, &self.entity, refusal).to_payload();
        let on_disk = if self.settings.outbox.plain_results {
            Answer::Kept(payload.clone())
        } else {
            Answer::Unkept(Some(refusal.code()))
        };
        Letter {
            task: id.to_owned(),
            about: About::Task,
            owner,
            payload,
            not_before,
            number: None,
            on_disk,
        }
    }

    /// Puts an answer into the outbox, as [`Service::refuse`] says.
    fn put(&self, letter: Letter, kind: Kind, may_wait: bool) -> Option<oneshot::Receiver<()>> {
        let size = letter.payload.len();
        let waiting = match kind {
            Kind::Refusal => &self.waiting_room.refusals,
            Kind::Result => &self.waiting_room.ends,
        };
        let (kept, ready) = oneshot::channel::<()>();
        let full = match self.outbox.reserve(kind, size) {
            Ok(place) => {
                self.outbox.keep(place, letter, kept);
                return Some(ready);
            }
            Err(full) => full,
        };
        let waiting = Arc::clone(waiting).try_acquire_owned();
        match waiting.ok().filter(|_| may_wait) {
            Some(waiting) => self.outbox.keep_later(kind, letter, kept, waiting),
            None => {
                warn_sparingly!(
                    self.sparing,
                    "The answer to task {} is lost: {full}",
                    letter.task
                );
                return None;
            }
        }
        Some(ready)
    }

    /// Stops a task. What is returned is that of the answer to the start of a latent one, as [`Service::refuse`] has it.
    fn stop(&mut self, stop: &Stop, not_before: Instant) -> Option<oneshot::Receiver<()>> {
        let owner = self.tasks.owner_of_latent(&stop.id);
        match self.tasks.stop(&stop.id) {
            Stopped::Task => {
                info!("Received stop command for task: {}", stop.id);
                None
            }
            Stopped::Latent => {
                info!("Received stop command for latent task: {}", stop.id);
                // Its start was taken, and this is the only answer to it: it has the room of a result, and waits for that
                // whether or not the stop does.
                let letter = self.refusal(&stop.id, owner, &tasks::stopped_latent(), not_before);
                self.put(letter, Kind::Result, true)
            }
            Stopped::Nothing => {
                warn_sparingly!(
                    self.sparing,
                    "Received stop command for task {}, which is not running here",
                    stop.id
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
