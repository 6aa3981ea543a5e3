//! What everything that this host keeps on a disk has to get right, whatever it keeps there.
//!
//! The audit log and the outbox are different things: one is lines for whoever checks them later, the other a store
//! that nobody but the proplet reads. What surrounds them is the same, and a mistake in it would be one of security or
//! a task that is lost, so it is here once:
//!
//! * The **folder** is the proplet's own ([`PrivateFolder`]). Whoever else could write there could put files in place of
//!   ours, and two processes that write the same files destroy them. So it is made for its owner, refused where others
//!   may use it, and locked for as long as it is used; and no link in it is followed.
//! * A **disk that does not answer** has no error to tell: the thread that writes sits in the kernel, maybe for good.
//!   Only others can notice that, by how long it has been there ([`Busy`]).
//! * The **errors of a disk** are many, and an operator acts on few kinds of them differently ([`Fault`]).
//!
//! The words are not here. What to do next names a setting, `[audit] path` or `[outbox] path`, so whoever uses this has
//! messages of its own for each [`FolderError`] and each [`Fault`].
#![deny(missing_docs)]

mod busy;
mod fault;
mod folder;

pub use self::{
    busy::Busy,
    fault::{Fault, words},
    folder::{FolderError, PrivateFolder, Readers},
};
