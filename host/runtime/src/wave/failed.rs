//! Why there is no value or no text.

use crate::limits::Passed;

/// Why there is no value or no text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The task has to end.
    Passed(Passed),
    /// The text is not of the type, or the value has no text.
    Invalid(String),
}

impl From<Passed> for Failed {
    fn from(passed: Passed) -> Self {
        Self::Passed(passed)
    }
}
