//! What a verifier says.

use std::{collections::BTreeMap, fmt};

use proplet_types::Digest;

use crate::entry::{Entry, EntryError};

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)
    }
}

/// A line that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Where.
    pub place: Place,
    /// What is wrong with it.
    pub broken: Broken,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.broken)
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is none.
    #[error("this is no line of an audit log: {0}")]
    Entry(EntryError),
    /// It is of another version of the format.
    #[error("the file is of another format than this program reads")]
    Format,
    /// The chain begins in its middle.
    #[error("the chain {chain} begins here with entry {seq}: what was before is missing")]
    Begins {
        /// The chain.
        chain: String,
        /// The entry's place in it.
        seq: u64,
    },
    /// Entries are missing.
    #[error("entries {from} to {to} of the chain {chain} are missing before this one")]
    Missing {
        /// The chain.
        chain: String,
        /// The first that is missing.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The entry stands behind one that comes after it, or twice.
    #[error("entry {seq} of the chain {chain} is out of its place")]
    Order {
        /// The chain.
        chain: String,
        /// The entry's place in it.
        seq: u64,
    },
    /// The entry before is another than the one that this was written after.
    #[error("the entry before {seq} in the chain {chain} was changed")]
    Changed {
        /// The chain.
        chain: String,
        /// The entry's place in it.
        seq: u64,
    },
    /// A task's chain is another than the boot's says.
    #[error("the chain {chain} of a task does not end as the boot's chain says")]
    TaskEnd {
        /// The task's chain.
        chain: String,
    },
    /// The entry stands behind the beginning of a later boot, of whose process this one's was the predecessor.
    #[error("entry {seq} of the chain {chain} stands behind the beginning of a later boot, {boot}")]
    Behind {
        /// The chain.
        chain: String,
        /// The entry's place in it.
        seq: u64,
        /// The later boot.
        boot: String,
    },
    /// A file between others is not there.
    #[error("{file}, which was there when this boot began, is missing, and earlier files are here")]
    Absent {
        /// The file.
        file: String,
    },
    /// The log of an earlier boot ends otherwise than it did when this boot began.
    #[error("{file} does not end as it did when this boot began")]
    EarlierEnd {
        /// The file.
        file: String,
    },
}

/// A line that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub entry: Entry,
    /// Whether all that led to it is here.
    pub linked: Linked,
}

/// Whether every line of a chain up to one of them was read, and names the one before it. Only then does that line
/// vouch for all of them; lines that the log says are lost are missing like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// They are all here, from the line `boot`, or from the task's `task-begun`.
    Whole,
    /// From the first file of this boot that was read: its chain, or this task's, begins in one that was not.
    Elsewhere,
    /// Some are missing or were changed.
    Not,
}

/// The chain of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootReport {
    /// Its random name.
    pub name: String,
    /// When it began here, by a clock that the hypervisor sets.
    pub untrusted_begin: String,
    /// Whether its beginning is in another file, that was not read.
    pub begins_elsewhere: bool,
    /// How many entries its chain has, also those that were not read.
    pub entries: u64,
    /// Hash of its last entry that was read.
    pub head: Digest,
    /// Whether it ends with an ordered stop. Otherwise it runs, or crashed, or its end was cut off.
    pub stopped: bool,
    /// Tasks whose chains have no end. Where the boot ends with a crash, those that ran.
    pub open_tasks: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Files that were read.
    pub files: u64,
    /// Lines of the log in them.
    pub lines: u64,
    /// Lines of what a receiver of an export wrote that are not of the log: they were passed over.
    pub others: u64,
    /// Tasks whose chains end as the boot's chain says.
    pub tasks: u64,
    /// Lines that the log itself says were never written.
    pub lost: u64,
    /// Files that the log names and that were neither read nor, as it says, removed.
    pub absent: Vec<String>,
    /// Boots, in the order of the files.
    pub boots: Vec<BootReport>,
    /// Files that end within a line, as after a crash, and where.
    pub torn: Vec<Place>,
    /// What does not hold.
    pub breaks: Vec<Break>,
    /// Breaks beyond those.
    pub more_breaks: u64,
    /// What was looked for and is there.
    pub found: BTreeMap<Digest, Found>,
    /// What was looked for and is not there.
    pub missing: Vec<Digest>,
}

impl Report {
    /// Whether every line that was read holds, and all that was looked for is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.breaks.is_empty() && self.missing.is_empty()
    }
}
