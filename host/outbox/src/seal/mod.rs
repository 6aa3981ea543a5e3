//! A store that lies sealed, under a root which the disk's owner does not have.
//!
//! **Keys.** A [`SealingRoot`] is key material of the operator's. HKDF-SHA-256 extracts it once and expands it to a key
//! for each use (`keys`), with the store's id in what it is expanded with. The id is random, made with the
//! store, and lies in it in clear, in a header that has a MAC under a key of its own: whether that holds tells a store
//! of this root from one of another. No key is for two uses, or for two stores, and none but ring's own copies of them
//! is in memory.
//!
//! **Nonces.** AES-256-GCM with random nonces of 12 bytes is good for 2³² texts under one key. At 3,000 tasks a second,
//! with up to three texts each and one for each commit, a key for each boot would be used up within six days. So each
//! commit has a key of its own, expanded with 16 random bytes (the salt), which each text has in front of it, beside
//! its nonce. Ten years at that rate are fewer than 2⁴² texts in fewer than 2³⁷ commits of some hundred texts each. That
//! two of one commit drew the same nonce has a chance below 2⁻⁷⁸, so below 2⁻⁴⁰ in all of these years; that two of
//! different commits drew the same salt and the same nonce, one below 2⁻¹⁴⁰. A store that is written whole after its
//! disk failed has more texts in that one commit: with a million it is 2⁻⁵⁷. Nothing is counted or remembered for this,
//! so a disk that is put back leads to no second use of a nonce either.
//!
//! **What each text is bound to**: the version of this form, whether it is an entry or the head, the store's id, and the
//! entry's number, all as associated data. A text that was changed, moved to another number, or comes from another
//! store does not open.
//!
//! **The whole set** is bound by the head, one more text, written anew with each commit. Each entry has a random number
//! of 128 bits sealed within it, its ticket; the head has the count of the entries and the sum of their tickets. So has
//! it the ids that must not run again: they lie as MACs under a key of the store, so that nobody can try ids out, and
//! the tickets are MACs of those under another one. Whoever has the disk knows no ticket. So any other choice of texts
//! that he has ever seen (one left out, one put back as it was, the head of another moment) has the head's sum with a
//! chance of 2⁻¹²⁸, and the store is given up as [`Breach::Incomplete`]. It costs an addition for each entry, and one
//! short text in the leaf that the newest entries are written to anyway.
//!
//! **What searches find.** The sum is over the records as they lie in a row. Single ones redb finds by a search, along
//! an order that no text is bound to, so a tree can be made in which they all are and a search misses some. A store is
//! taken only if its records are in order and a search ends at each of them (`database::whole`). And while it is open
//! nothing goes by what a search on the disk says, which its owner can change at any time: entries are in memory, and so
//! are the ids that must not run again, as the first 16 bytes of their names. Where the disk says of a record that is
//! written or removed something else than memory does, whether it was there before, the commit fails.
//!
//! **What is not noticed.** A disk that is put back as a whole, with the head of that moment, or emptied, is as good as
//! one that never went on: an answer that the broker had is sent again, a task that was answered is reported as
//! interrupted, and an id that must not run again runs. Only a memory outside of the disk could tell, and a VM has none
//! that outlives it. While one process lives it has: it knows how it left the store, by its id and head, and takes no
//! other (`known`; [`Breach::RolledBack`]). That helps nobody who destroys it: the store is given up then, a new one is
//! begun, and the ids that must not run again are forgotten.

mod breach;
mod head;
mod keys;
mod known;
mod root;
mod sealed;

pub use self::{
    breach::{Breach, SealError},
    root::{RootError, SealingRoot},
};
pub(crate) use self::{
    keys::SEALED,
    known::Known,
    sealed::{Sealed, Writing},
};

/// Whether a store is sealed.
pub enum Sealing {
    /// It is not: everything in it lies there as it is.
    Clear,
    /// Under this root.
    Root(SealingRoot),
    /// Under a root that is not there yet. Until it is ([`Journal::unlock`](crate::Journal::unlock)), the disk is not
    /// touched and tasks are refused.
    Awaited,
}
