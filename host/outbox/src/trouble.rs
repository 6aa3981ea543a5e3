//! What is wrong with the store, in the few kinds that an operator acts on differently.

use std::io::{self, ErrorKind};

use proplet_types::text::short_line;
use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};
use thiserror::Error;

/// The longest text of the system or the store that is repeated, in characters.
const MAX_WORDS: usize = 256;

/// Why the store takes nothing now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// No space is left.
    #[error("the disk of the outbox is full; make room on it")]
    Full,
    /// As much is in the store as the settings allow.
    #[error("the outbox holds {0} bytes, and more are not allowed; raise [outbox] max_bytes")]
    Bound(u64),
    /// The disk or the folder cannot be written.
    #[error(
        "the outbox cannot be written ({0}); check the mount and the permissions of its folder"
    )]
    ReadOnly(String),
    /// What is on the disk is no store, or is broken.
    #[error("the outbox on the disk is damaged ({0})")]
    Damaged(String),
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
            Self::Hung => "hung",
            Self::Io(_) => "io",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn damaged(words: &dyn std::fmt::Display) -> Self {
        Self::Damaged(short_line(&words.to_string(), MAX_WORDS))
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
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Self::Damaged(words),
            _ => Self::Io(words),
        }
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match &error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(words) => Self::damaged(words),
            _ => Self::Io(short_line(&error.to_string(), MAX_WORDS)),
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
            error => Self::Io(short_line(&error.to_string(), MAX_WORDS)),
        }
    }
}

impl From<TransactionError> for Trouble {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Self::Io(short_line(&error.to_string(), MAX_WORDS)),
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
            error => Self::Io(short_line(&error.to_string(), MAX_WORDS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_are_told_apart() {
        let trouble = |kind: ErrorKind| Trouble::from(&io::Error::from(kind)).word();
        assert_eq!(trouble(ErrorKind::StorageFull), "full");
        assert_eq!(trouble(ErrorKind::QuotaExceeded), "full");
        assert_eq!(trouble(ErrorKind::ReadOnlyFilesystem), "read-only");
        assert_eq!(trouble(ErrorKind::PermissionDenied), "read-only");
        assert_eq!(trouble(ErrorKind::InvalidData), "damaged");
        assert_eq!(trouble(ErrorKind::TimedOut), "io");
        let corrupted = StorageError::Corrupted("a\npage".to_owned());
        assert_eq!(Trouble::from(corrupted).word(), "damaged");
    }
}
