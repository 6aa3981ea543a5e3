//! What the daemon does with each message.

mod invoking;

use std::{sync::Arc, time::Duration};

use proplet_executor::Refusal;
use proplet_outbox::{Answer, Recovered};
use proplet_settings::Settings;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tracing::{error, info};

use crate::{
    answer,
    image_proxy::Images,
    message::{BadStart, Decoded, ResultMessage, Start, Stop, Topics, topics::Command},
    mqtt::{
        Received,
        acknowledge::Acknowledgements,
        outbox::{About, Letter, Outbox},
    },
    record::Record,
    repeats::Repeats,
    sparing::{Sparing, warn_sparingly},
    supervisor::Probe,
    tasks::{self, Stopped, Tasks},
};

/// How long tasks may take to end once they are told to.
const STOPPING: Duration = Duration::from_secs(10);
/// So many refusals may wait for room in the outbox. Their starts are not acknowledged meanwhile, and a broker sends no
/// more than its window without that.
pub(super) const WAITING_REFUSALS: usize = 16 * 1024;

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
    /// Room for refusals that wait.
    pub refusals: Arc<Semaphore>,
    /// For lines that every stranger can cause.
    pub sparing: Sparing,
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
                    if stopping {
                        return self.refuse(id, &tasks::stopping(), not_before, may_wait);
                    }
                    if self.repeats.is_repeated(message, id) {
                        info!("The broker delivered the start of task {id} twice");
                        return None;
                    }
                    self.start(*start, not_before, may_wait).await
                }
            },
            Command::Stop => {
                if let Some(stop) = Stop::from_bytes(&message.payload, &self.entity) {
                    self.stop(&stop, not_before);
                }
                None
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

    async fn start(
        &mut self,
        start: Start,
        not_before: Instant,
        may_wait: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let id = start.request.task.id.clone();
        if self.is_pending(&id).await {
            warn_sparingly!(
                self.sparing,
                "Task {id} runs already or its answer is on its way; the repeated start is ignored"
            );
            return None;
        }
        self.repeats.remember(&id);
        let (accepted, ready) = oneshot::channel();
        match self.tasks.start(start, not_before, accepted) {
            Ok(()) => {
                info!("Received start command for task: {id}");
                Some(ready)
            }
            Err(refusal) => {
                self.repeats.forget(&id);
                self.refuse(&id, &refusal, not_before, may_wait)
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
            Some(id) => self.refuse(&id, &bad.refusal, not_before, may_wait),
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
        refusal: &Refusal,
        not_before: Instant,
        may_wait: bool,
    ) -> Option<oneshot::Receiver<()>> {
        warn_sparingly!(self.sparing, "Task {id} refused: {refusal}");
        self.record.refused(id, refusal.code());
        let payload = ResultMessage::refused(id, &self.entity, refusal).to_payload();
        let on_disk = if self.settings.outbox.plain_results {
            Answer::Kept(payload.clone())
        } else {
            Answer::Unkept(Some(refusal.code()))
        };
        let letter = Letter {
            task: id.to_owned(),
            about: About::Task,
            payload,
            not_before,
            number: None,
            on_disk,
        };
        self.put_refusal(letter, may_wait)
    }

    /// Puts a refusal into the outbox, as [`Service::refuse`] says.
    fn put_refusal(&self, letter: Letter, may_wait: bool) -> Option<oneshot::Receiver<()>> {
        let size = letter.payload.len();
        let place = match self.outbox.reserve_refusal(size) {
            Ok(place) => Ok(place),
            Err(full) => {
                let waiting = Arc::clone(&self.refusals).try_acquire_owned();
                match waiting.ok().filter(|_| may_wait) {
                    Some(waiting) => Err(waiting),
                    None => {
                        warn_sparingly!(
                            self.sparing,
                            "The refusal of task {} is lost: {full}",
                            letter.task
                        );
                        return None;
                    }
                }
            }
        };
        let (kept, ready) = oneshot::channel::<()>();
        let outbox = self.outbox.clone();
        // Until it has room too: no later start of this id is to be answered before it.
        let expected = outbox.expect(letter.subject());
        tokio::spawn(async move {
            let place = match place {
                Ok(place) => place,
                Err(_waiting) => {
                    let room = outbox.reserve_refusal_waiting(size);
                    let until = letter.about.until();
                    match until {
                        None => room.await,
                        Some(until) => match timeout_at(until, room).await {
                            Ok(place) => place,
                            // Nobody waits for it any more.
                            Err(_) => return,
                        },
                    }
                }
            };
            let task = letter.task.clone();
            let is_kept = place.put(letter, ()).await;
            drop(expected);
            if !is_kept {
                // Neither the disk nor the broker has it so far: the start is still the broker's.
                outbox.answered(&task).await;
            }
            drop(kept);
        });
        Some(ready)
    }

    fn stop(&mut self, stop: &Stop, not_before: Instant) {
        match self.tasks.stop(&stop.id) {
            Stopped::Task => info!("Received stop command for task: {}", stop.id),
            Stopped::Latent => {
                info!("Received stop command for latent task: {}", stop.id);
                self.refuse(&stop.id, &tasks::stopped_latent(), not_before, false);
            }
            Stopped::Nothing => warn_sparingly!(
                self.sparing,
                "Received stop command for task {}, which is not running here",
                stop.id
            ),
        }
    }
}

#[cfg(test)]
mod tests;
