//! Sealed results, receipts and their offline verification.
//!
//! A result leaves the host as a [`ResultDocument`]: the result itself, sealed to the data owner's keys
//! ([`seal`]); a receipt that says which component made it from what ([`receipt`]); and the evidence
//! that says whose word the receipt is ([`EvidenceBundle`] over [`claims`]). The chain that a reader
//! follows is
//!
//! ```text
//! CPU vendor -> evidence -> claims -> receipt key -> receipt -> digest of the sealed result
//! ```
//!
//! and every arrow is a check of [`verify`]. What is only claimed, and what nobody said how to check, is
//! reported as not verified, never passed over.
//!
//! What a component says about its result, media type included, is inside of the encryption; outside is
//! what the host would say of any other result too.
//!
//! Isolation: the receipt key signs and does nothing else; recipients' keys only open. A result is
//! sealed before anything signs it, so the receipt holds digests of public bytes only: a digest of the
//! plaintext would let anybody test guesses of a short result.
//!
//! The crate has no engine, no network and no clock of its own. `docs/formats.md` specifies what it
//! reads and writes.
#![deny(missing_docs)]

pub mod bounds;
mod bundle;
pub mod claims;
mod content;
pub mod digest;
mod document;
pub mod failure;
mod opened;
pub mod receipt;
mod sealed;
pub mod verify;

pub use bundle::{BundleError, EvidenceBundle};
pub use document::{DocumentError, ResultDocument};
pub use opened::{OpenError, Opened, open};
pub use receipt::{ReceiptClaims, ReceiptKey};
pub use sealed::{SealError, Sealed, seal};
