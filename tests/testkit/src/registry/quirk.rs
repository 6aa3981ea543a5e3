//! Ways in which registries differ when they are written to.

use std::time::Duration;

use super::store::sha256;

/// One way. Real registries have had each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quirk {
    /// Where an upload is to go, with `{id}` for its number; no address at all when absent.
    UploadAddress(Option<String>),
    /// A manifest is stored and its address not said.
    NoManifestAddress,
    /// Uploads in parts are answered with this status.
    NoParts(u16),
    /// Of an upload in parts only the last part is kept.
    LastPartOnly,
    /// Of an upload only so many bytes are kept, under the digest of all of them.
    Cut(usize),
    /// Manifests are written anew before they are stored, under the digest that was asked for.
    Reformat,
    /// The words of errors.
    Words(String),
    /// The next writes are answered with a status, this often, with `Retry-After` if there is one.
    Busy {
        /// The status.
        status: u16,
        /// How often.
        times: u32,
        /// Seconds of `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// The quirks of one registry.
#[derive(Default)]
pub(super) struct Quirks(Vec<Quirk>);

impl Quirks {
    pub(super) fn add(&mut self, quirk: Quirk) {
        self.0.push(quirk);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn find<T>(&self, of: impl FnMut(&Quirk) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(of)
    }

    /// The status that a write is answered with instead of being done.
    pub(super) fn busy(&mut self) -> Option<(u16, Option<Duration>)> {
        self.0.iter_mut().find_map(|quirk| match quirk {
            Quirk::Busy {
                status,
                times,
                retry_after,
            } if *times > 0 => {
                *times -= 1;
                Some((*status, *retry_after))
            }
            _ => None,
        })
    }
}

/// A manifest as a registry may write it anew: the same to every reader, in other bytes.
pub(super) fn reformat(manifest: &[u8]) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    let pretty = format!("{value:#}").into_bytes();
    debug_assert_ne!(sha256(&pretty), sha256(manifest));
    pretty
}
