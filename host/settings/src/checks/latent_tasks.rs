//! `[latent_tasks]`: how many prepared components wait to be invoked, and how long an invocation may take.

use std::time::Duration;

use crate::{document, error::SettingsError, sections::LatentTasks};

/// The Manager gives up after 30 seconds, which begin before the message is here and end after the answer has left.
const LONGEST: u64 = 28_000;
/// Below this, not even a warm invocation would surely end in time.
const SHORTEST: u64 = 100;

pub(crate) fn checked_latent_tasks(
    document: &document::LatentTasks,
) -> Result<LatentTasks, SettingsError> {
    let wrong = |name, why: String| Err(SettingsError::value("latent_tasks", name, why));
    let tasks = document.tasks.unwrap_or(64);
    if !(1..=4096).contains(&tasks) {
        return wrong("tasks", "must be from 1 to 4096".to_owned());
    }
    let milliseconds = document.invocation_ms.unwrap_or(25_000);
    if !(SHORTEST..=LONGEST).contains(&milliseconds) {
        return wrong(
            "invocation_ms",
            format!("must be from {SHORTEST} to {LONGEST}: the Manager gives up after 30 seconds"),
        );
    }
    Ok(LatentTasks {
        tasks,
        bytes: document.bytes.unwrap_or(512 << 20),
        invocation: Duration::from_millis(milliseconds),
    })
}
