//! What the key broker released, and what it refused, for as long as the session in which it did.
//!
//! The attestation of this host is worth something until its session ends: then the key broker wants to
//! see fresh evidence before it releases anything. What it released before would outlive that decision
//! if it were kept, so every entry carries its session and is gone when the session is
//! (`KbsClient::live_session`, no I/O).
//!
//! Refusals are kept as well, or a component that asks again and again would have this host flood the key
//! broker with questions whose answer is known. They are kept for half a minute at most, so that an owner
//! who puts a missing secret in place need not wait for the session's end.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_image::{KeySource, KeySourceError};
use proplet_kbs::{KbsClient, KbsError, SessionId};
use proplet_types::{Code, ResourceUri};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::shares::{Bounds, Shares};

/// Most answers that are kept, and their bytes. Beyond it the key broker is asked anew.
const BOUNDS: Bounds = Bounds {
    entries: 1024,
    bytes: 64 << 20,
};
/// What an answer without bytes takes.
const REFUSAL_BYTES: u64 = 1024;
/// How long a refusal is believed.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Whether the key broker answers, as far as anybody asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyBrokerState {
    /// The settings name none, or this machine runs no encrypted tasks.
    NotConfigured,
    /// Nobody asked it since the start.
    NotAsked,
    /// It answered last time, if only with a refusal.
    Answers,
    /// It did not, or not as it should.
    Failing(Code),
}

impl KeyBrokerState {
    fn after(error: &KbsError) -> Self {
        match error {
            KbsError::Denied { .. } | KbsError::NotFound { .. } | KbsError::TooLarge { .. } => {
                Self::Answers
            }
            error => Self::Failing(error.code()),
        }
    }
}

/// The key broker with a memory.
pub(crate) struct Vault {
    kbs: KbsClient,
    kept: Mutex<Shares<ResourceUri, Kept>>,
    state: Mutex<KeyBrokerState>,
}

struct Kept {
    session: SessionId,
    answer: Answer,
}

enum Answer {
    Released(Zeroizing<Vec<u8>>),
    Refused { error: KbsError, until: Instant },
}

impl Vault {
    pub(crate) fn new(kbs: KbsClient) -> Self {
        Self {
            kbs,
            kept: Mutex::new(Shares::new(BOUNDS)),
            state: Mutex::new(KeyBrokerState::NotAsked),
        }
    }

    /// The session that is alive now.
    pub(crate) fn live_session(&self) -> Option<SessionId> {
        self.kbs.live_session()
    }

    /// How the key broker was when it was asked last.
    pub(crate) fn state(&self) -> KeyBrokerState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of a resource, from memory when its session is alive. A refusal comes from memory too, when
    /// it is the key broker's last word.
    pub(crate) async fn resource(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, KbsError> {
        if let Some(answer) = self
            .live_session()
            .and_then(|live| self.remembered(uri, live))
        {
            return answer;
        }
        let asked = self.kbs.resource(uri).await;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = match &asked {
            Ok(_) => KeyBrokerState::Answers,
            Err(error) => KeyBrokerState::after(error),
        };
        match asked {
            Ok(resource) => {
                let answer = Answer::Released(resource.bytes.clone());
                self.keep(uri, resource.session, answer);
                Ok(resource.bytes)
            }
            Err(error) => {
                if let Some(session) = self.live_session().filter(|_| is_final(&error)) {
                    let answer = Answer::Refused {
                        error: error.clone(),
                        until: Instant::now() + REFUSED_FOR,
                    };
                    self.keep(uri, session, answer);
                }
                Err(error)
            }
        }
    }

    /// Drops what ended sessions answered, and refusals that are old.
    pub(crate) fn forget_expired(&self) {
        let (live, now) = (self.live_session(), Instant::now());
        self.with(|kept| {
            kept.extract(|kept| {
                let old = matches!(kept.answer, Answer::Refused { until, .. } if until <= now);
                Some(kept.session) != live || old
            })
        });
    }

    fn remembered(
        &self,
        uri: &ResourceUri,
        live: SessionId,
    ) -> Option<Result<Zeroizing<Vec<u8>>, KbsError>> {
        self.with(|kept| {
            let kept = kept.get(uri).filter(|kept| kept.session == live)?;
            match &kept.answer {
                Answer::Released(bytes) => Some(Ok(bytes.clone())),
                Answer::Refused { error, until } if Instant::now() < *until => {
                    Some(Err(error.clone()))
                }
                Answer::Refused { .. } => None,
            }
        })
    }

    fn keep(&self, uri: &ResourceUri, session: SessionId, answer: Answer) {
        let bytes = match &answer {
            Answer::Released(bytes) => REFUSAL_BYTES + bytes.len() as u64,
            Answer::Refused { .. } => REFUSAL_BYTES,
        };
        let kept = Kept { session, answer };
        self.with(|all| all.put(uri.clone(), uri.repository(), bytes, kept));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shares<ResourceUri, Kept>) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether the key broker would say the same again. What may pass by itself is asked again.
fn is_final(error: &KbsError) -> bool {
    matches!(
        error,
        KbsError::Denied { .. } | KbsError::NotFound { .. } | KbsError::TooLarge { .. }
    )
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
