//! Compiled code that is kept, bounded in number and in bytes. What was used longest ago goes first.

use std::collections::HashMap;

use proplet_types::Digest;

/// Something that can be kept.
pub(crate) trait Cacheable: Clone + Send + Sync + 'static {
    /// Bytes that it takes.
    fn bytes(&self) -> u64;
}

/// Code by the digest of its component.
pub(super) struct Kept<T> {
    max_entries: usize,
    max_bytes: u64,
    entries: HashMap<Digest, Entry<T>>,
    bytes: u64,
    clock: u64,
}

struct Entry<T> {
    code: T,
    bytes: u64,
    used: u64,
}

impl<T: Cacheable> Kept<T> {
    /// Keeps at most so many entries and bytes.
    pub(super) fn new(max_entries: usize, max_bytes: u64) -> Self {
        Self {
            max_entries,
            max_bytes,
            entries: HashMap::new(),
            bytes: 0,
            clock: 0,
        }
    }

    /// The code of this component, which counts as used.
    pub(super) fn find(&mut self, digest: &Digest) -> Option<T> {
        self.clock += 1;
        let entry = self.entries.get_mut(digest)?;
        entry.used = self.clock;
        Some(entry.code.clone())
    }

    /// Keeps code, unless it is here, and drops what there is no more room for.
    pub(super) fn keep(&mut self, digest: Digest, code: &T) {
        if self.find(&digest).is_some() {
            return;
        }
        let entry = Entry {
            bytes: code.bytes(),
            code: code.clone(),
            used: self.clock,
        };
        self.bytes = self.bytes.saturating_add(entry.bytes);
        self.entries.insert(digest, entry);
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some((digest, _)) = oldest else { return };
            let digest = *digest;
            self.remove(&digest);
        }
    }

    /// Drops code. Returns whether it was here.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let Some(entry) = self.entries.remove(digest) else {
            return false;
        };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        true
    }

    /// Bytes of all code.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether this is here, without using it.
    #[cfg(test)]
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.entries.contains_key(digest)
    }
}
