//! Encrypted components that are ready to run.
//!
//! An entry is the outcome of a cold start: compiled code, the policy that counts, the recipients, and
//! the key broker session that all of it rests on. It is found by the image digest, which is why a start
//! by digest needs no network. It is good for exactly as long as that session lives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use proplet_jose::jwk::PublicKey;
use proplet_kbs::{ResourceUri, SessionId};
use proplet_results::Digest;
use proplet_runtime::{Compiled, policy::Policy};

/// One component, decrypted, checked and compiled.
pub(super) struct Ready {
    /// Digest of the image manifest.
    pub image_digest: Digest,
    /// Digest of the index that led to it.
    pub index_digest: Option<String>,
    /// Id of the key that decrypted it.
    pub kid: ResourceUri,
    /// Session that released the key.
    pub session: SessionId,
    /// Digest of the component.
    pub component_digest: Digest,
    /// Its policy and the policy's digest, when one counts.
    pub policy: Option<(Policy, Digest)>,
    /// Who may read its results; never empty.
    pub recipients: Vec<PublicKey>,
    /// The code.
    pub compiled: Compiled,
}

/// Ready components by the digest of their image and the id of their key.
#[derive(Default)]
pub(super) struct Warm {
    ready: Mutex<HashMap<(String, ResourceUri), Arc<Ready>>>,
    loading: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Warm {
    /// The component of this image or index digest that a key which the task expects opened, if its session
    /// is the live one. An image can have several keys; of those that will do, the first by name.
    pub(super) fn find(
        &self,
        digest: &str,
        live: Option<SessionId>,
        expected: impl Fn(&ResourceUri) -> bool,
    ) -> Option<Arc<Ready>> {
        let live = live?;
        self.with(|ready| {
            ready
                .values()
                .filter(|entry| {
                    entry.session == live
                        && (entry.image_digest.as_str() == digest
                            || entry.index_digest.as_deref() == Some(digest))
                        && expected(&entry.kid)
                })
                .min_by_key(|entry| entry.kid.to_string())
                .map(Arc::clone)
        })
    }

    /// Keeps a component.
    pub(super) fn keep(&self, entry: Arc<Ready>) {
        let key = (entry.image_digest.to_string(), entry.kid.clone());
        self.with(|ready| ready.insert(key, entry));
    }

    /// Removes what does not belong to the live session, and gives the component digests.
    pub(super) fn take_expired(&self, live: Option<SessionId>) -> Vec<String> {
        self.with(|ready| {
            ready
                .extract_if(|_, entry| Some(entry.session) != live)
                .map(|(_, entry)| entry.component_digest.to_string())
                .collect()
        })
    }

    /// A lock for the cold start of one image, so that ten starts at once pull it once.
    pub(super) fn loading(&self, image: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        loading.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = loading.get(image).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        loading.insert(image.to_owned(), Arc::downgrade(&lock));
        lock
    }

    fn with<T>(
        &self,
        change: impl FnOnce(&mut HashMap<(String, ResourceUri), Arc<Ready>>) -> T,
    ) -> T {
        change(&mut self.ready.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
