//! What is wrong with the store, in the few kinds that an operator acts on differently.

use std::{io, path::Path};

use proplet_disk::{Fault, words};
use proplet_types::Code;
use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};
use thiserror::Error;

use crate::seal::{Breach, SealError};

/// Why the store takes nothing now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// No space is left.
    #[error("the disk of the outbox is full; make room on it, or give it a larger one")]
    Full,
    /// As much is in the store as the settings allow.
    #[error("the outbox holds {0} bytes, and more are not allowed; raise [outbox] max_bytes")]
    Bound(u64),
    /// The disk or the folder cannot be written.
    #[error(
        "the outbox cannot be written ({0}); check the mount and the permissions of its folder or device"
    )]
    ReadOnly(String),
    /// What is on the disk is no store, or is broken.
    #[error("the outbox on the disk is damaged ({0})")]
    Damaged(String),
    /// It is not sealed as it should be, or under another root.
    #[error("the outbox on the disk does not fit the sealing root: {0}")]
    Breach(#[from] Breach),
    /// The sealing root is not there yet, and why, where the key broker said.
    #[error(
        "the outbox waits for its sealing root{}",
        .0.map(|code| format!(" ({code}, the log says why)")).unwrap_or_default()
    )]
    Locked(Option<Code>),
    /// The device that the settings name is not there.
    #[error("there is no disk for the outbox at {0}; attach it")]
    Absent(String),
    /// It takes longer than anybody waits for it.
    #[error("the disk of the outbox does not answer; look whether it hangs")]
    Hung,
    /// Anything else that the system says.
    #[error("the outbox cannot be used ({0}); check its disk")]
    Io(String),
    /// The thread that writes is gone.
    #[error("the outbox is closed")]
    Closed,
}

impl Trouble {
    /// One word, for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Bound(_) => "bound",
            Self::ReadOnly(_) => "read-only",
            Self::Damaged(_) => "damaged",
            Self::Breach(breach) => breach.word(),
            Self::Locked(code) => code.map_or("locked", Code::as_str),
            Self::Absent(_) => "absent",
            Self::Hung => "hung",
            Self::Io(_) => "io",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn absent(path: &Path) -> Self {
        Self::Absent(words(&path.display()))
    }

    pub(crate) fn damaged(said: &dyn std::fmt::Display) -> Self {
        Self::Damaged(words(said))
    }
}

impl From<SealError> for Trouble {
    fn from(error: SealError) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        match error.into() {
            Fault::Full => Self::Full,
            Fault::ReadOnly(words) => Self::ReadOnly(words),
            Fault::Damaged(words) => Self::Damaged(words),
            Fault::Other(words) => Self::Io(words),
        }
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match &error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(said) => Self::damaged(said),
            _ => Self::Io(words(&error)),
        }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => {
                Self::damaged(&error)
            }
            error => Self::Io(words(&error)),
        }
    }
}

impl From<TransactionError> for Trouble {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Self::Io(words(&error)),
        }
    }
}

impl From<TableError> for Trouble {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            // A table of this name and other types: the file is another program's.
            error => Self::damaged(&error),
        }
    }
}

impl From<CommitError> for Trouble {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Self::Io(words(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn kinds_of_errors_are_told_apart() {
        let trouble = |kind: ErrorKind| Trouble::from(&io::Error::from(kind)).word();
        assert_eq!(trouble(ErrorKind::StorageFull), "full");
        assert_eq!(trouble(ErrorKind::PermissionDenied), "read-only");
        assert_eq!(trouble(ErrorKind::InvalidData), "damaged");
        assert_eq!(trouble(ErrorKind::TimedOut), "io");
        let corrupted = StorageError::Corrupted("a\npage".to_owned());
        assert_eq!(Trouble::from(corrupted).word(), "damaged");
    }
}
