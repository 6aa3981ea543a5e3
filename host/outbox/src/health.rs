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
    /// It does not, or it holds as much as it may, and tasks are refused.
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
    /// Where a store lies that was not gone on with in this process's time, and why: `damaged`, or the word of a
    /// [`Breach`](crate::Breach).
    pub set_aside: Option<(PathBuf, &'static str)>,
}
