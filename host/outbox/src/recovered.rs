//! What an earlier process left, and how entries are named.

use crate::entry::Entry;

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub(crate) u64);

/// An entry that an earlier process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its number.
    pub number: Number,
    /// What it says.
    pub entry: Entry,
}

impl Recovered {
    pub(crate) fn new(number: u64, entry: Entry) -> Self {
        Self {
            number: Number(number),
            entry,
        }
    }
}
