//! What a component was given of the key broker, for whoever has it released again.
//!
//! No secret is in it: a digest tells whether the key broker has the same bytes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proplet_types::{Digest, ResourceUri};

/// The resources that a component was given, each with the digest of what it got. There are no more of them than it may
/// ask for. Clones are the same list.
#[derive(Clone, Default)]
pub(crate) struct Given(Arc<Mutex<BTreeSet<(ResourceUri, Digest)>>>);

impl Given {
    /// Notes what a component gets. What it dropped since stays: it may have read it.
    pub(crate) fn note(&self, uri: &ResourceUri, bytes: &[u8]) {
        self.lock().insert((uri.clone(), Digest::of(bytes)));
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<(ResourceUri, Digest)> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(ResourceUri, Digest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Given({})", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_noted_once_and_other_bytes_are_another() {
        let given = Given::default();
        let uri: ResourceUri = "kbs:///alice/data/secret".parse().unwrap();
        for bytes in [b"one", b"one", b"two"] {
            given.clone().note(&uri, bytes);
        }
        assert_eq!(given.all().len(), 2);
        assert_eq!(format!("{given:?}"), "Given(2)");
    }
}
