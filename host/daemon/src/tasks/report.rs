//! What is said of a task when it is over.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use proplet_executor::{Refusal, TaskError, TaskOutcome, host_text};
use proplet_outbox::{Answer, Number};
use proplet_types::{Code, text::short_line};
use tokio::time::Instant;
use tracing::{error, info};

use super::{
    MAX_LOGGED, Shared,
    refusals::{breakdown, stopped_early, stopping},
};
use crate::{
    message::{ResultMessage, Round},
    mqtt::outbox::{About, Kind, Letter},
};

/// What the form of an answer depends on.
pub(super) struct Form {
    /// The image of one that is sealed.
    pub image: Option<String>,
    pub round: Option<Round>,
}

/// How a task that was taken ended.
pub(super) struct Done {
    pub outcome: TaskOutcome,
    pub kind: Kind,
}

impl Done {
    /// It was not run.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            outcome: TaskOutcome::failed(refusal),
            kind: Kind::Refusal,
        }
    }

    /// It was stopped while it waited.
    pub(super) fn stopped_early() -> Self {
        Self::result(TaskOutcome::failed(stopped_early()))
    }

    /// It panicked.
    pub(super) fn broke_down() -> Self {
        Self::result(TaskOutcome::failed(breakdown()))
    }

    /// It ran, or began to.
    pub(super) fn result(outcome: TaskOutcome) -> Self {
        Self {
            outcome,
            kind: Kind::Result,
        }
    }
}

impl Shared {
    /// The answer to a task, and its code if it failed. What a sealed task says in clear is this host's words, so it may
    /// lie on the disk as it is; of others the disk has the code, unless the settings say otherwise.
    pub(super) fn letter(
        &self,
        task: String,
        outcome: TaskOutcome,
        number: Option<Number>,
        form: &Form,
        not_before: Instant,
    ) -> (Letter, Option<Code>) {
        let (payload, code) = self.report(&task, outcome, form.round.as_ref());
        let on_disk = if form.image.is_some() || self.plain_results {
            Answer::Kept(payload.clone())
        } else {
            Answer::Unkept(code)
        };
        let letter = Letter {
            task,
            about: About::Task,
            owner: self.owner_of_image(form.image.as_deref()),
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
    pub(super) fn final_error(&self, error: Option<TaskError>) -> Option<TaskError> {
        let is_stopped = |error: &TaskError| error.code() == Code::Stopped;
        match error {
            Some(error) if self.stopping.load(Ordering::Relaxed) && is_stopped(&error) => {
                Some(stopping().into())
            }
            error => error,
        }
    }

    /// Why a message of this size is not sent.
    pub(super) fn too_large(&self, size: usize) -> Option<Refusal> {
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
