//! Encrypted components that are ready to run.
//!
//! An entry is the outcome of a cold start: compiled code, the policy that counts, the recipients, and
//! the key broker session that all of it rests on. It is found by the image digest, which is why a start
//! by digest needs no network. It is good for exactly as long as that session lives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use proplet_kbs::{ResourceUri, SessionId};

use crate::workload::{Road, Workload};

/// The image's digest and the id of the key that opened it.
type Key = (String, ResourceUri);

/// Ready components by the digest of their image and the id of their key.
#[derive(Default)]
pub(crate) struct Warm {
    ready: Mutex<HashMap<Key, Arc<Workload>>>,
    loading: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Warm {
    /// The component of this image or index digest that a key which the task expects opened, if its session
    /// is the live one. An image can have several keys; of those that will do, the first by name.
    pub(crate) fn find(
        &self,
        digest: &str,
        live: Option<SessionId>,
        expected: impl Fn(&ResourceUri) -> bool,
    ) -> Option<Arc<Workload>> {
        let live = live?;
        self.with(|ready| {
            ready
                .iter()
                .filter(|((image, kid), workload)| {
                    let Road::Encrypted(release) = &workload.road else {
                        return false;
                    };
                    release.session == live
                        && (image == digest || release.index_digest.as_deref() == Some(digest))
                        && expected(kid)
                })
                .min_by_key(|((_, kid), _)| kid.to_string())
                .map(|(_, workload)| Arc::clone(workload))
        })
    }

    /// Keeps a component that compiled.
    pub(crate) fn keep(&self, image_digest: &str, workload: &Arc<Workload>) {
        if let (Road::Encrypted(release), Ok(_)) = (&workload.road, &workload.code) {
            let key = (image_digest.to_owned(), release.kid.clone());
            self.with(|ready| ready.insert(key, Arc::clone(workload)));
        }
    }

    /// Removes what does not belong to the live session, and gives the digests of the components.
    pub(crate) fn take_expired(&self, live: Option<SessionId>) -> Vec<String> {
        self.with(|ready| {
            ready
                .extract_if(|_, workload| match &workload.road {
                    Road::Encrypted(release) => Some(release.session) != live,
                    Road::Plain => true,
                })
                .map(|(_, workload)| workload.component_digest.to_string())
                .collect()
        })
    }

    /// A lock for the cold start of one image, so that ten starts at once pull it once.
    pub(crate) fn loading(&self, image: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        loading.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = loading.get(image).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        loading.insert(image.to_owned(), Arc::downgrade(&lock));
        lock
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Key, Arc<Workload>>) -> T) -> T {
        change(&mut self.ready.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
