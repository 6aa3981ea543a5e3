//! Whether a task is accepted.

use thiserror::Error;

use crate::trouble::Trouble;

/// Whether an id that ran may run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rerun {
    /// Any number of times: the Manager uses the ids of recurring tasks again.
    #[default]
    Allowed,
    /// Never. The ids of all tasks are kept, as digests.
    Never,
}

/// Whether a task that is accepted is one that ran, as far as its id goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    Yes,
    No,
}

/// Why a task was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AcceptError {
    /// The store takes nothing now.
    #[error(transparent)]
    Unavailable(#[from] Trouble),
    /// A task of this id was accepted before, and none may be twice.
    #[error("a task of this id ran before")]
    AlreadyRun,
}
