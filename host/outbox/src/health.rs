//! How the store is.

use std::path::PathBuf;

use crate::trouble::Trouble;

/// Whether the store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is none: everything is in memory.
    Memory,
    /// It does.
    Good,
    /// It does not, and tasks are refused.
    Failing(Trouble),
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it works.
    pub state: State,
    /// Entries in it.
    pub entries: usize,
    /// Bytes that count against the bound.
    pub bytes: u64,
    /// Where a damaged store of this process's time lies.
    pub set_aside: Option<PathBuf>,
}
