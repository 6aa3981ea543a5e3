//! Why a task is not run, or ended before it did.

use proplet_executor::{Refusal, host_text, text::Known};
use proplet_outbox::AcceptError;
use proplet_types::Code;

/// The answer to tasks that a shutdown ends or keeps out.
pub(crate) fn stopping() -> Refusal {
    Refusal::new(
        Code::PropletStopping,
        "this proplet is shutting down; start the task again",
    )
}

/// The answer to a latent task that is stopped.
pub(crate) fn stopped_latent() -> Refusal {
    Refusal::new(
        Code::Stopped,
        "the latent task was stopped; start it again to have it invoked",
    )
}

/// Why the journal did not take a task, for whoever sent it.
pub(super) fn not_accepted(error: &AcceptError) -> Refusal {
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

pub(super) fn stopped_early() -> Refusal {
    Refusal::new(Code::Stopped, "the task was stopped before it began")
}

pub(super) fn breakdown() -> Refusal {
    Refusal::new(
        Code::HostFailed,
        "the task broke down inside the proplet; report it with the proplet's log",
    )
}
