//! What a proplet must not forget: the tasks that it accepted, and the answers that the broker lacks.
//!
//! A [`Journal`] has one entry per start that was accepted. It is *accepted* before the broker gets its
//! acknowledgement, *answered* before the task counts as done, and gone once the broker has the answer.
//! What an earlier process left is [`Recovered`]: answers that go out again, and tasks that it
//! interrupted, which are reported and never run again.
//!
//! Nothing is in an entry but the task's id, and one of: nothing more (accepted); the answer as it goes to
//! the broker, when that is sealed or the settings allow it; or the code alone, when the answer itself lies in
//! memory only. With a [`SealingRoot`] each entry is sealed on its own, and all of them together are bound to each other
//! (`seal`). A root that comes later than the journal is waited for ([`Sealing::Awaited`]): until then nothing is
//! accepted, for a task that could not be sealed would not be there after a crash.
//!
//! **The store** is redb: one file, copy-on-write trees with checksums, so that whatever a crash leaves of
//! unsynced writes, the last commit is found; pure Rust, no background threads, and its storage can be replaced,
//! which is how the tests lose power between any two writes. An append-only log of our own would write less per
//! commit, and all of its repair would be ours to get right. Its default feature `std` adds nothing to this
//! version and is off.
//!
//! **One thread** does all blocking work, so no thread of the runtime waits for a disk. Whatever came
//! in while a commit ran goes into the next one (group commit): the latency of an entry is at most that of two
//! commits. A disk that does not answer holds nobody up for longer than [`Options::patience`]: then tasks are refused
//! and answers stay in memory until it does. Removals wait for the next commit or a tenth of a second, because forgetting one in a crash only sends
//! an equal answer twice.
//!
//! **When the disk fails**, tasks are refused and no answer is lost: the state of the whole journal is in
//! memory as well, is served from there, and is written as soon as the store can be opened again. A
//! store that is damaged, or is not sealed as it should be, is renamed, never deleted, and a new one is begun.
//!
//! **Without a file system** the store lies directly on a block device, as in the VM image, where the disk is the host's and
//! a file system would be an attack on the kernel. There a damaged store stays, and tasks are refused.
#![deny(missing_docs)]

mod accept;
mod core;
#[cfg(test)]
mod crashes;
mod database;
mod device;
mod disk;
mod entry;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod journal;
mod recovered;
mod seal;
mod trouble;
mod writer;

pub use self::{
    accept::{AcceptError, Rerun},
    disk::OpenError,
    entry::{Answer, Entry, EntryError},
    health::{Health, State},
    journal::{Journal, Opening, Options},
    recovered::{Number, Recovered},
    seal::{Breach, RootError, SealError, Sealing, SealingRoot},
    trouble::Trouble,
};
