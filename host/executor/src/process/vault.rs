//! What the key broker released, for as long as the session that released it.
//!
//! The attestation of this host is worth something until its session ends: then the key broker wants to
//! see fresh evidence before it releases anything. What it released before would outlive that decision
//! if it were kept, so every entry carries its session and is gone when the session is
//! (`KbsClient::live_session`, no I/O).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_image::{KeySource, KeySourceError};
use proplet_kbs::{KbsClient, KbsError, ResourceUri, SessionId};
use zeroize::Zeroizing;

/// Most resources that are kept. Beyond it they are fetched anew each time.
const MAX_KEPT: usize = 1024;

/// The key broker with a memory.
pub(crate) struct Vault {
    kbs: KbsClient,
    kept: Mutex<HashMap<ResourceUri, Kept>>,
}

struct Kept {
    bytes: Zeroizing<Vec<u8>>,
    session: SessionId,
}

impl Vault {
    pub(crate) fn new(kbs: KbsClient) -> Self {
        Self {
            kbs,
            kept: Mutex::default(),
        }
    }

    /// The session that is alive now.
    pub(crate) fn live_session(&self) -> Option<SessionId> {
        self.kbs.live_session()
    }

    /// The bytes of a resource, from memory when its session is alive.
    pub(crate) async fn resource(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, KbsError> {
        if let Some(live) = self.live_session()
            && let Some(kept) = self.with(|kept| {
                let kept = kept.get(uri).filter(|kept| kept.session == live)?;
                Some(kept.bytes.clone())
            })
        {
            return Ok(kept);
        }
        let resource = self.kbs.resource(uri).await?;
        self.with(|kept| {
            if kept.len() < MAX_KEPT || kept.contains_key(uri) {
                let entry = Kept {
                    bytes: resource.bytes.clone(),
                    session: resource.session,
                };
                kept.insert(uri.clone(), entry);
            }
        });
        Ok(resource.bytes)
    }

    /// Drops what ended sessions released.
    pub(crate) fn forget_expired(&self) {
        let live = self.live_session();
        self.with(|kept| kept.retain(|_, entry| Some(entry.session) == live));
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<ResourceUri, Kept>) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The source of one image's key. Remembers the session, for the image's place in the cache.
///
/// The key itself is not kept: the opened image is, and an owner who encrypts anew under the same key id
/// has another key there.
pub(crate) struct ImageKeys<'a> {
    vault: &'a Vault,
    session: Mutex<Option<SessionId>>,
}

impl<'a> ImageKeys<'a> {
    pub(crate) fn new(vault: &'a Vault) -> Self {
        Self {
            vault,
            session: Mutex::default(),
        }
    }

    /// The session that released the last key.
    pub(crate) fn session(&self) -> Option<SessionId> {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeySource for ImageKeys<'_> {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        let resource = self
            .vault
            .kbs
            .resource(kid)
            .await
            .map_err(|error| KeySourceError::new(error.code(), error.to_string()))?;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(resource.session);
        Ok(raw_key(resource.bytes))
    }
}

/// Upstream's guide stores `openssl rand -base64 32` as it is printed: 44 characters that stand for 32
/// bytes. Nothing else has that length and form.
fn raw_key(stored: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let text = stored.trim_ascii();
    if text.len() != 44 {
        return stored;
    }
    match STANDARD.decode(text).map(Zeroizing::new) {
        Ok(key) if key.len() == 32 => key,
        _ => stored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_base64_is_the_same_key() {
        let key = Zeroizing::new(vec![7; 32]);
        assert_eq!(raw_key(key.clone()), key);
        for end in ["", "\n"] {
            let text = format!("{}{end}", STANDARD.encode(&*key));
            assert_eq!(raw_key(Zeroizing::new(text.into_bytes())), key);
        }
        let other = Zeroizing::new(vec![b'!'; 44]);
        assert_eq!(raw_key(other.clone()), other);
    }
}
