//! Encrypted components that are ready to run.
//!
//! An entry is the outcome of a cold start: compiled code, the policy that counts, the recipients, and
//! the key broker session that all of it rests on. It is found by the image digest, which is why a start
//! by digest needs no network. It is good for exactly as long as that session lives, and as long as there
//! is room: each repository of keys has a part that the others cannot take from it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use proplet_types::{Digest, ResourceUri};

use crate::{
    shares::{Bounds, Shares},
    workload::ready::{Road, Workload},
};

/// Most components that are kept ready, and bytes of their code.
const BOUNDS: Bounds = Bounds {
    entries: 64,
    bytes: 512 << 20,
};

/// The image's digest and the id of the key that opened it.
type Key = (Digest, ResourceUri);

/// Ready components by the digest of their image and the id of their key.
pub(crate) struct Warm {
    ready: Mutex<Shares<Key, Arc<Workload>>>,
    loading: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Default for Warm {
    fn default() -> Self {
        Self {
            ready: Mutex::new(Shares::new(BOUNDS)),
            loading: Mutex::default(),
        }
    }
}

impl Warm {
    /// The component of this image or index digest that a key which the task expects opened, if the session
    /// that released it is alive. An image can have several keys; of those that will do, the first by name.
    pub(crate) fn find(
        &self,
        digest: Digest,
        expected: impl Fn(&ResourceUri) -> bool,
    ) -> Option<Arc<Workload>> {
        self.with(|ready| {
            let key = ready
                .iter()
                .filter(|((image, kid), workload)| {
                    let Road::Encrypted(release) = &workload.road else {
                        return false;
                    };
                    release.still_holds().is_ok()
                        && (*image == digest || release.index_digest == Some(digest))
                        && expected(kid)
                })
                .map(|(key, _)| key)
                .min_by_key(|(_, kid)| kid.to_string())?
                .clone();
            ready.get(&key).map(Arc::clone)
        })
    }

    /// Keeps a component. Gives the digests of components that had to go for it.
    pub(crate) fn keep(&self, image: Digest, workload: &Arc<Workload>) -> Vec<Digest> {
        let (Road::Encrypted(release), Ok(code)) = (&workload.road, &workload.code) else {
            return Vec::new();
        };
        let key = (image, release.kid.clone());
        let owner = release.kid.repository();
        self.with(|ready| {
            let gone = ready.put(key, owner, code.size(), Arc::clone(workload));
            unused(ready, gone)
        })
    }

    /// Removes what was released in a session that is over, and gives the digests of the components.
    pub(crate) fn take_expired(&self) -> Vec<Digest> {
        self.with(|ready| {
            let gone = ready.extract(|_, workload| match &workload.road {
                Road::Encrypted(release) => release.still_holds().is_err(),
                Road::Plain => true,
            });
            unused(ready, gone)
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

    fn with<T>(&self, change: impl FnOnce(&mut Shares<Key, Arc<Workload>>) -> T) -> T {
        change(&mut self.ready.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Digests of components that went and that no other image has.
fn unused(ready: &Shares<Key, Arc<Workload>>, gone: Vec<Arc<Workload>>) -> Vec<Digest> {
    gone.iter()
        .map(|workload| workload.component_digest)
        .filter(|digest| {
            ready
                .iter()
                .all(|(_, kept)| kept.component_digest != *digest)
        })
        .collect()
}
