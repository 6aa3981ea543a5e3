//! How the log is.

use std::io::{self, ErrorKind};

use proplet_types::text::short_line;
use thiserror::Error;

/// The longest text of the system that is repeated, in characters.
const MAX_WORDS: usize = 256;

/// Why the log is not on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// No space is left.
    #[error("the disk of the audit log is full; make room on it, or set [audit] max_bytes")]
    Full,
    /// The disk or the folder cannot be written.
    #[error(
        "the audit log cannot be written ({0}); check the mount and the permissions of its folder"
    )]
    ReadOnly(String),
    /// It takes longer than anybody waits for it.
    #[error("the disk of the audit log does not answer; look whether it hangs")]
    Hung,
    /// Anything else that the system says.
    #[error("the audit log cannot be written ({0}); check its disk")]
    Io(String),
    /// It is written, but lines are missing: they found no room while it was not.
    #[error("the audit log had no room for it; look how its disk was")]
    Lost,
    /// The thread that writes is gone.
    #[error("the audit log is closed")]
    Closed,
}

impl Trouble {
    /// One word, for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly(_) => "read-only",
            Self::Hung => "hung",
            Self::Io(_) => "io",
            Self::Lost => "lost",
            Self::Closed => "closed",
        }
    }
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        let words = short_line(&error.to_string(), MAX_WORDS);
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full
            }
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::ReadOnly(words),
            _ => Self::Io(words),
        }
    }
}

/// Whether the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is nowhere but in memory: the settings name no folder.
    Memory,
    /// It is.
    Good,
    /// It is not. What happens meanwhile waits in memory, as far as there is room.
    Failing(Trouble),
}

/// How the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it is written.
    pub state: State,
    /// Lines that found no room and are lost, since the start.
    pub lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_are_told_apart() {
        for (kind, word) in [
            (ErrorKind::StorageFull, "full"),
            (ErrorKind::QuotaExceeded, "full"),
            (ErrorKind::ReadOnlyFilesystem, "read-only"),
            (ErrorKind::PermissionDenied, "read-only"),
            (ErrorKind::TimedOut, "io"),
        ] {
            assert_eq!(Trouble::from(&io::Error::from(kind)).word(), word);
        }
    }
}
