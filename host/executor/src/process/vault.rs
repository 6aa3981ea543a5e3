//! What the key broker released, and what it refused, for as long as the session in which it did.
//!
//! The attestation of this host is worth something until its session ends: then the key broker wants to
//! see fresh evidence before it releases anything. What it released before would outlive that decision
//! if it were kept, so every entry carries its session and is gone when the session is
//! (`KbsClient::live_session_for`, no I/O).
//!
//! Where the key broker is told which component asks, its answer is about that component: entries are found
//! by component and address then, and none serves another component.
//!
//! Refusals are kept as well, or a component that asks again and again would have this host flood the key
//! broker with questions whose answer is known. They are kept for half a minute at most, so that an owner
//! who puts a missing secret in place need not wait for the session's end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_audit::Event;
use proplet_image::{KeySource, KeySourceError};
use proplet_kbs::{KbsClient, KbsError, LiveSession, Resource, SessionId, protocol::Requester};
use proplet_types::{Code, Digest, ResourceUri};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::ledger::{Ledger, word};
use crate::shares::{Bounds, Shares};

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
    kept: Mutex<Shares<Key, Kept>>,
    state: Mutex<KeyBrokerState>,
}

/// Whether what the key broker said before may be its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// As long as its session lives.
    Used,
    /// It is asked again.
    PassedOver,
}

/// The component that the key broker was told of, and the address.
type Key = (Option<Requester>, ResourceUri);

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

    /// The session that is alive now, of those in which a component is asked for.
    pub(crate) fn live_session_for(&self, requester: &Requester) -> Option<SessionId> {
        self.kbs.live_session_for(requester)
    }

    /// The same with its times.
    pub(crate) fn session_times(&self, requester: &Requester) -> Option<LiveSession> {
        self.kbs.live_session_times(requester)
    }

    /// Has the key broker release the key of an image once more: the session in which it does, and which key it is.
    pub(crate) async fn image_key_again(
        &self,
        kid: &ResourceUri,
        requester: &Requester,
    ) -> Result<(SessionId, Digest), KbsError> {
        let owner = Some(kid.repository());
        let asked = self.kbs.resource_for(kid, requester, owner).await;
        self.note(&asked);
        asked.map(|key| (key.session, Digest::of(&key.bytes)))
    }

    /// How the key broker was when it was asked last.
    pub(crate) fn state(&self) -> KeyBrokerState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the key broker is told which component asks.
    pub(crate) fn is_component_bound(&self) -> bool {
        self.kbs.is_component_bound()
    }

    /// The bytes of a resource on behalf of a component, from memory when its session is alive. A refusal
    /// comes from memory too, when it is the key broker's last word. `owner` is the repository that the component was
    /// opened with: the memory is taken of its part, and so is an attestation.
    pub(crate) async fn resource(
        &self,
        uri: &ResourceUri,
        requester: &Requester,
        owner: &str,
        memory: Memory,
    ) -> Result<Zeroizing<Vec<u8>>, KbsError> {
        let told = self.is_component_bound().then(|| requester.clone());
        let key = (told, uri.clone());
        if memory == Memory::Used
            && let Some(answer) = self.remembered(&key)
        {
            return answer;
        }
        let asked = self.kbs.resource_for(uri, requester, Some(owner)).await;
        self.note(&asked);
        match asked {
            Ok(resource) => {
                let answer = Answer::Released(resource.bytes.clone());
                self.keep(key, owner, resource.session, answer);
                Ok(resource.bytes)
            }
            Err(error) => {
                self.keep_refusal(key, owner, &error);
                Err(error)
            }
        }
    }

    /// The session that is alive now, of those in which no component is named.
    pub(crate) fn own_session(&self) -> Option<SessionId> {
        self.kbs.live_session()
    }

    /// Whether a component is granted what it is given and what was denied in `own`
    /// ([`KbsClient::is_told_apart_by_component`]).
    pub(crate) fn is_told_apart(&self, requester: &Requester, own: Option<SessionId>) -> bool {
        own.is_some_and(|own| self.kbs.is_told_apart_by_component(requester, own))
    }

    /// The bytes of a resource of this host's own, in the session in which no component is named. Nothing is kept,
    /// and no refusal is believed: who asks does so with pauses of its own.
    pub(crate) async fn host_resource(
        &self,
        uri: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KbsError> {
        let asked = self.kbs.resource(uri).await;
        self.note(&asked);
        asked.map(|resource| resource.bytes)
    }

    /// Notes how the key broker was.
    fn note(&self, asked: &Result<Resource, KbsError>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = match asked {
            Ok(_) => KeyBrokerState::Answers,
            Err(error) => KeyBrokerState::after(error),
        };
    }

    /// Whether the key broker releases a resource to this VM without being told of a component. The bytes
    /// are not kept and nobody is given them.
    pub(crate) async fn is_released_to_any(
        &self,
        uri: &ResourceUri,
        owner: &str,
    ) -> Result<bool, KbsError> {
        let key = (None, uri.clone());
        let answer = match self.remembered(&key) {
            Some(answer) => answer.map(drop),
            None => {
                let answer = self.kbs.resource(uri).await.map(drop);
                if let Err(error) = &answer {
                    self.keep_refusal(key, owner, error);
                }
                answer
            }
        };
        match answer {
            Ok(()) => Ok(true),
            Err(KbsError::Denied { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Drops what ended sessions answered, and refusals that are old.
    pub(crate) fn forget_expired(&self) {
        let now = Instant::now();
        self.with(|kept| {
            kept.extract(|(told, _), kept| {
                let old = matches!(kept.answer, Answer::Refused { until, .. } if until <= now);
                Some(kept.session) != self.live(told.as_ref()) || old
            })
        });
    }

    fn live(&self, told: Option<&Requester>) -> Option<SessionId> {
        match told {
            Some(requester) => self.kbs.live_session_for(requester),
            None => self.kbs.live_session(),
        }
    }

    fn remembered(&self, key: &Key) -> Option<Result<Zeroizing<Vec<u8>>, KbsError>> {
        let live = self.live(key.0.as_ref())?;
        self.with(|kept| {
            let kept = kept.get(key).filter(|kept| kept.session == live)?;
            match &kept.answer {
                Answer::Released(bytes) => Some(Ok(bytes.clone())),
                Answer::Refused { error, until } if Instant::now() < *until => {
                    Some(Err(error.clone()))
                }
                Answer::Refused { .. } => None,
            }
        })
    }

    /// Keeps the key broker's last word, for a while.
    fn keep_refusal(&self, key: Key, owner: &str, error: &KbsError) {
        let session = self.live(key.0.as_ref());
        if let Some(session) = session.filter(|_| is_final(error)) {
            let answer = Answer::Refused {
                error: error.clone(),
                until: Instant::now() + REFUSED_FOR,
            };
            self.keep(key, owner, session, answer);
        }
    }

    fn keep(&self, key: Key, owner: &str, session: SessionId, answer: Answer) {
        let bytes = match &answer {
            Answer::Released(bytes) => REFUSAL_BYTES + bytes.len() as u64,
            Answer::Refused { .. } => REFUSAL_BYTES,
        };
        let kept = Kept { session, answer };
        self.with(|all| all.put(key, owner, bytes, kept));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shares<Key, Kept>) -> T) -> T {
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

/// An image before it is opened.
pub(crate) struct NewImage {
    /// Nothing but its digest is known.
    pub requester: Requester,
    /// The repository of the key that its reference led to when it was opened last.
    pub owner: Option<Arc<str>>,
}

impl NewImage {
    /// Whose attestation it costs to ask for this key. The key is the image's word: anybody can make one that names
    /// another's, but not have it under a name of the other's.
    fn payer(&self, kid: &ResourceUri) -> Option<&str> {
        let owner = self.owner.as_deref();
        owner.filter(|owner| *owner == kid.repository())
    }
}

/// The source of one image's key. Remembers the session, for the image's place in the cache, and which key it was.
///
/// The key itself is not kept: the opened image is, and an owner who encrypts anew under the same key id
/// has another key there.
pub(crate) struct ImageKeys<'a> {
    vault: &'a Vault,
    image: Option<NewImage>,
    ledger: Ledger,
    released: Mutex<Option<(SessionId, Digest)>>,
}

impl<'a> ImageKeys<'a> {
    /// Keys of an image. None: whatever image it is.
    pub(crate) fn new(vault: &'a Vault, image: Option<NewImage>, ledger: Ledger) -> Self {
        Self {
            vault,
            image,
            ledger,
            released: Mutex::default(),
        }
    }

    /// The session that released the last key, and the digest of that: an owner who encrypts anew under the same key
    /// id has another one there.
    pub(crate) fn released(&self) -> Option<(SessionId, Digest)> {
        *self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
#[async_trait]
impl KeySource for ImageKeys<'_> {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        let kbs = &self.vault.kbs;
        let image = self.image.as_ref();
        let digest = image.and_then(|image| image.requester.image_digest);
        let event = |refused| Event::Key {
            image: digest,
            uri: kid.clone(),
            refused,
        };
        let resource = async {
            match image {
                Some(image) => {
                    let payer = image.payer(kid);
                    kbs.resource_for(kid, &image.requester, payer).await
                }
                None => kbs.resource(kid).await,
            }
        };
        let resource = self.ledger.asked(event, word, resource).await;
        let resource =
            resource.map_err(|error| KeySourceError::new(error.code(), error.to_string()))?;
        let released = (resource.session, Digest::of(&resource.bytes));
        *self.released.lock().unwrap_or_else(PoisonError::into_inner) = Some(released);
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
    fn who_names_an_owners_key_is_not_the_owner() {
        let image = |owner: Option<&str>| NewImage {
            requester: Requester::default(),
            owner: owner.map(Into::into),
        };
        let kid = "kbs:///alice/key/a".parse().unwrap();
        assert_eq!(image(None).payer(&kid), None);
        assert_eq!(image(Some("mallory")).payer(&kid), None);
        assert_eq!(image(Some("alice")).payer(&kid), Some("alice"));
    }

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
