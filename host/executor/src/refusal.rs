//! The errors that leave this host in clear: a stable code and words for people.

use std::fmt;

use proplet_image::ImageError;
use proplet_runtime::RuntimeError;
use proplet_types::Code;

use crate::{host_text, text::HostText};

/// Why a task was refused or failed, as anybody may know it.
///
/// It is shown as `<code>: <words>`. Programs compare the code, which never changes its meaning; people
/// read the words, which say what failed, on what, and what to do next. Both are the host's own, by their
/// types: for an encrypted task this is all that leaves the host unsealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    words: HostText,
}

impl Refusal {
    /// A refusal with its code (lower case, hyphens) and its words (one line).
    pub fn new(code: Code, words: impl Into<HostText>) -> Self {
        Self {
            code,
            words: words.into(),
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &str {
        self.words.as_str()
    }
}

impl From<&RuntimeError> for Refusal {
    fn from(error: &RuntimeError) -> Self {
        Self::new(error.code(), host_text!("{}", error))
    }
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self::new(error.code(), host_text!("{}", error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.words)
    }
}

impl std::error::Error for Refusal {}
