//! What came of a task.

use std::fmt;

use proplet_runtime::{GuestText, Usage};
use proplet_types::Code;

use crate::refusal::Refusal;

/// What came of a task.
#[derive(Debug, Clone, Default)]
pub struct TaskOutcome {
    /// The text for the results message: upstream's text for a plain task, a result document for an
    /// encrypted one, also when it failed after its recipients were known. Empty otherwise.
    pub results: String,
    /// Why the task failed.
    pub error: Option<TaskError>,
    /// What the task used, when it ran.
    pub usage: Option<Usage>,
}

impl TaskOutcome {
    /// The code of a task that failed.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.error.as_ref().map(TaskError::code)
    }

    /// Of a task that failed, without a result.
    pub fn failed(error: impl Into<TaskError>) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::default()
        }
    }
}

/// Why a task failed: what the host says of it, and for a plain component what the component said.
///
/// `Display` and `Debug` give the host's part only, which may go everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    refusal: Refusal,
    said: Option<GuestText>,
}

impl TaskError {
    /// With what a plain component said. Nothing of it is confidential, so its sender gets it.
    pub(crate) fn of_plain(refusal: Refusal, said: Option<GuestText>) -> Self {
        Self { refusal, said }
    }

    /// The host's part: what may be logged.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.refusal.code()
    }

    /// All there is to say to whoever sent the task, without the code: the host's words, and the plain
    /// component's.
    #[must_use]
    pub fn full_words(&self) -> String {
        let words = self.refusal.words();
        match &self.said {
            Some(said) => format!("{words}: {}", said.as_str()),
            None => words.to_owned(),
        }
    }

    /// The text for the results message, `<code>: <words>`.
    #[must_use]
    pub fn full_text(&self) -> String {
        format!("{}: {}", self.code(), self.full_words())
    }
}

impl From<Refusal> for TaskError {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            said: None,
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl std::error::Error for TaskError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_easy_to_print_is_the_hosts() {
        let refusal = Refusal::new(Code::GuestFailed, "the component ended with a failure");
        let said = GuestText::new("patient 4711");
        let error = TaskError::of_plain(refusal.clone(), Some(said));
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("4711"), "{shown}");
        }
        let full = "guest-failed: the component ended with a failure: patient 4711";
        assert_eq!(error.full_text(), full);
        assert_eq!(TaskError::from(refusal).to_string(), error.to_string());
    }
}
