//! The audit log: what this host did with keys, secrets and results, on a record that shows what was taken out of it.
//!
//! An entry is a line of canonical JSON that holds the hash of the line before it, so a log is as good as its last
//! hash, its *head*: whoever has the head can tell whether a line before it was changed, left out or moved. There
//! is one chain for each boot, and one for each task.
//!
//! * A **task's chain** begins at the line of the boot's chain that says so, and ends in one that names its head. Its
//!   head is in the task's receipt, and its guest may read it: a task's chain has nothing of another task in it.
//! * The **boot's chain** holds the rest. Its head is in the `instance` evidence of this host, which the TEE signs.
//!
//! So evidence vouches for the log up to when it was made, and a receipt for what led to its result, however
//! the file came to whoever reads it. What comes after the last head that somebody else holds can be cut off unseen; no
//! chain can do better.
//!
//! **What is in it**: kinds, codes, ids of tasks, digests of what is public. Never content. Addresses of secrets and
//! the readers of results say much about who works with whom, so they are sealed to the recipients that the settings
//! name, one by one, and are left out where there are none ([`Sealing`]).
//!
//! **The disk** is written by one thread ([`Audit::open`]), in groups, and nobody but who asks to ([`Audit::flush`])
//! waits for it, and never longer than [`Options::patience`]. What waits for it is bounded. Lines that find no room are
//! lost, and the log says how many: their hashes are in the chain. The file is synced every tenth of a second, so a
//! crash of the process loses what the thread had not written yet, and one of the machine a tenth of a second.
//!
//! **An export** ([`Options::export`]) hands a copy of each line to journald or to a receiver of syslog. Nobody waits for
//! that, and the files are what counts.
//!
//! **Reading** needs nothing but the files ([`verify`]): no key, no TEE, no network.
#![deny(missing_docs)]

mod audit;
mod chain;
mod core;
mod disk;
mod entry;
mod event;
mod export;
mod health;
mod sealing;
mod task;
pub mod verify;
mod writer;

pub use self::{
    audit::{Audit, Boot, Opening, Options, Place},
    disk::OpenError,
    entry::{Entry, EntryError, MAX_LINE_BYTES, SealedError},
    event::{Event, Origin, Refused},
    export::{Export, ExportTrouble, Exported, JOURNALD_SOCKET, Syslog},
    health::{Health, State, Trouble},
    sealing::Sealing,
    task::TaskLog,
};
