//! What an error of the system means for a disk, in the few kinds that an operator acts on differently.

use std::{
    fmt::Display,
    io::{self, ErrorKind},
};

use proplet_types::text::short_line;

/// The longest text of the system or of a store that is repeated, in characters.
const MAX_WORDS: usize = 256;

/// What is wrong with a disk, and what the system says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No space is left on it, or none that this user or this file may have.
    Full,
    /// It, or the folder, cannot be written.
    ReadOnly(String),
    /// What is on it is not what was written.
    Damaged(String),
    /// Anything else.
    Other(String),
}

impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full
            }
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                Self::ReadOnly(words(error))
            }
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Self::Damaged(words(error)),
            _ => Self::Other(words(error)),
        }
    }
}

/// What the system or a store says, fit for one line of a log or an error: 256 characters of it at most.
#[must_use]
pub fn words(said: &dyn Display) -> String {
    short_line(&said.to_string(), MAX_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_are_told_apart() {
        let fault = |kind: ErrorKind| Fault::from(&io::Error::new(kind, "it\nsays"));
        let said = || "it; says".to_owned();
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::FileTooLarge,
        ] {
            assert_eq!(fault(kind), Fault::Full, "{kind}");
        }
        for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
            assert_eq!(fault(kind), Fault::ReadOnly(said()), "{kind}");
        }
        for kind in [ErrorKind::InvalidData, ErrorKind::UnexpectedEof] {
            assert_eq!(fault(kind), Fault::Damaged(said()), "{kind}");
        }
        for kind in [ErrorKind::TimedOut, ErrorKind::NotFound, ErrorKind::Other] {
            assert_eq!(fault(kind), Fault::Other(said()), "{kind}");
        }
    }

    #[test]
    fn words_are_few() {
        assert_eq!(words(&"a".repeat(MAX_WORDS)), "a".repeat(MAX_WORDS));
        assert_eq!(words(&"a".repeat(1000)), "a".repeat(MAX_WORDS) + "...");
        assert_eq!(words(&"a\u{1b}b"), "a\u{fffd}b");
    }
}
