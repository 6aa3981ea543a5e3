//! What a registry was asked for.

use std::sync::atomic::AtomicU64;

/// How often a registry was asked for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Manifests sent.
    pub manifests_read: u64,
    /// Manifests taken.
    pub manifests_written: u64,
    /// Blobs sent, whole or in part.
    pub blobs_read: u64,
    /// Blobs sent in part, because only a range was asked for.
    pub parts_read: u64,
    /// Blobs taken.
    pub blobs_written: u64,
    /// Tokens given by the token service.
    pub tokens: u64,
    /// Requests refused for their credentials.
    pub refused: u64,
    /// Writes answered by [`Quirk::Busy`](super::Quirk::Busy).
    pub busy: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) manifests_read: AtomicU64,
    pub(super) manifests_written: AtomicU64,
    pub(super) blobs_read: AtomicU64,
    pub(super) parts_read: AtomicU64,
    pub(super) blobs_written: AtomicU64,
    pub(super) tokens: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) busy: AtomicU64,
}
