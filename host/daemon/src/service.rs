//! What the daemon does with each message.

use std::{sync::Arc, time::Duration};

use proplet_executor::{Refusal, Request};
use proplet_settings::Settings;
use tokio::{sync::mpsc, time::Instant};
use tracing::{error, info, warn};

use crate::{
    message::{BadStart, Decoded, ResultMessage, Stop, Topics, topics::Command},
    mqtt::{Received, outbox::Outbox},
    repeats::Repeats,
    tasks::{self, Tasks},
};

/// How long tasks may take to end once they are told to.
const STOPPING: Duration = Duration::from_secs(10);

/// The receiving side of a daemon.
pub(super) struct Service {
    pub topics: Topics,
    pub entity: String,
    pub tasks: Tasks,
    pub outbox: Outbox,
    pub repeats: Repeats,
    pub settings: Arc<Settings>,
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
                () = &mut shutdown => break,
                message = messages.recv() => match message {
                    Some(message) => self.receive(&message, false),
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
                Some(message) = messages.recv() => self.receive(&message, true),
            }
        }
        tokio::spawn(async move { while messages.recv().await.is_some() {} });
    }

    fn receive(&mut self, message: &Received, stopping: bool) {
        let not_before = message.at + self.settings.results_not_before;
        let command = self.topics.command(&message.topic);
        if message.retained && command.is_some() {
            warn!(
                "A retained message on {} is ignored, because it may have been obeyed before; remove it \
                 from the broker by publishing an empty retained message there",
                message.topic
            );
            return;
        }
        match command {
            Some(Command::Start) => match Decoded::from_bytes(&message.payload, &self.entity) {
                Decoded::NotForUs => {}
                Decoded::Bad(bad) => self.bad_start(bad, not_before),
                Decoded::Task(start) if stopping => {
                    self.refuse(&start.task.id, &tasks::stopping(), not_before);
                }
                Decoded::Task(start) if self.repeats.is_repeated(message, &start.task.id) => {
                    let id = &start.task.id;
                    info!("The broker delivered the start of task {id} twice");
                }
                Decoded::Task(start) => self.start(*start, not_before),
            },
            Some(Command::Stop) => {
                if let Some(stop) = Stop::from_bytes(&message.payload, &self.entity) {
                    self.stop(&stop);
                }
            }
            None => {}
        }
    }

    fn start(&mut self, request: Request, not_before: Instant) {
        info!("Received start command for task: {}", request.task.id);
        if self.tasks.is_known(&request.task.id) {
            warn!(
                "Task {} is running already; the repeated start is ignored",
                request.task.id
            );
            return;
        }
        self.repeats.remember(&request.task.id);
        let id = request.task.id.clone();
        if let Err(refusal) = self.tasks.start(request, not_before) {
            self.refuse(&id, &refusal, not_before);
        }
    }

    fn bad_start(&self, bad: BadStart, not_before: Instant) {
        match bad.id {
            // A hostile repetition of a running task's id must not end that task in the Manager's books.
            Some(id) if self.tasks.is_known(&id) => {
                warn!("A start command that cannot be read repeats the running task {id}; ignored");
            }
            Some(id) => self.refuse(&id, &bad.refusal, not_before),
            None => warn!(
                "A start command without a readable id cannot be answered: {}",
                bad.refusal
            ),
        }
    }

    fn refuse(&self, id: &str, refusal: &Refusal, not_before: Instant) {
        warn!("Task {id} refused: {refusal}");
        let message = ResultMessage::refused(id, &self.entity, refusal);
        let submitted = self.outbox.submit(id, message.to_payload(), not_before);
        if let Err(full) = submitted {
            error!("The refusal of task {id} is lost: {full}");
        }
    }

    fn stop(&mut self, stop: &Stop) {
        if self.tasks.stop(&stop.id) {
            info!("Received stop command for task: {}", stop.id);
        } else {
            warn!(
                "Received stop command for task {}, which is not running here",
                stop.id
            );
        }
    }
}
