//! How the log is.

use std::io;

use proplet_disk::Fault;
use thiserror::Error;

use crate::export::Exported;

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
        match error.into() {
            Fault::Full => Self::Full,
            Fault::ReadOnly(words) => Self::ReadOnly(words),
            // What is on the disk already is for whoever verifies it to judge.
            Fault::Damaged(words) | Fault::Other(words) => Self::Io(words),
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
    /// How its export is; none where the settings ask for none.
    pub export: Option<Exported>,
}

impl Health {
    /// Takes counts of lines that found no room here, and in the export. Whether there are more than before.
    pub(crate) fn count(&mut self, lost: u64, missed: u64) -> bool {
        let is_more = |known: &mut u64, now: u64| {
            let is_more = *known < now;
            *known = now.max(*known);
            is_more
        };
        let is_lost = is_more(&mut self.lost, lost);
        let is_missed =
            (self.export.as_mut()).is_some_and(|export| is_more(&mut export.missed, missed));
        is_lost || is_missed
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn kinds_of_errors_are_told_apart() {
        for (kind, word) in [
            (ErrorKind::StorageFull, "full"),
            (ErrorKind::PermissionDenied, "read-only"),
            (ErrorKind::InvalidData, "io"),
            (ErrorKind::TimedOut, "io"),
        ] {
            assert_eq!(Trouble::from(&io::Error::from(kind)).word(), word);
        }
    }
}
