//! What only recipients may see of an entry.
//!
//! An entry that has addresses has a JWE of its own, so that one entry can be shown to somebody without its key
//! opening another's log, and a chain can be checked by who cannot open anything. The JWE is part of the line, so
//! it is hashed with it.
//!
//! Entries about one component share theirs: they are one for each task, and sealing takes longer than all else that
//! a task has in the log. Whoever sees the same JWE twice learns that the same is in both. What is in there is the address of
//! the image's key, which the image names, and the readers of the result, which the policy inside the component or the settings
//! name; so it is shared where the digests of all of these are the same in clear, and says nothing that they do not.
//! What a guest asks for is sealed anew each time: which tasks ask for the same is what nobody is to learn.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proplet_jose::{jwe, jwk::PublicKey};
use proplet_types::Digest;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::event::{COMPONENT, Parts};

/// The media type of what is sealed.
const TYPE: &str = "proplet-audit+json";
/// Of so many components what is sealed is kept.
const MAX_SHARED: usize = 64;

/// Who may see addresses of secrets, and who reads results.
#[derive(Debug, Clone)]
pub struct Sealing {
    recipients: Vec<PublicKey>,
    shared: Arc<Mutex<Shared>>,
}

/// What is sealed, by the digest of what the entry says in clear and of what is in it.
#[derive(Debug, Default)]
struct Shared {
    sealed: HashMap<Digest, Arc<Value>>,
    /// Oldest first.
    order: VecDeque<Digest>,
}

impl Sealing {
    /// To these; none when there is nobody.
    #[must_use]
    pub fn to(recipients: Vec<PublicKey>) -> Option<Self> {
        (!recipients.is_empty()).then(|| Self {
            recipients,
            shared: Arc::default(),
        })
    }

    /// The addresses, sealed. None where there are none, or where it fails, as without random bytes: then the entry
    /// has none of it rather than all of it in clear.
    pub(crate) fn seal(&self, parts: &Parts) -> Option<Arc<Value>> {
        if parts.addresses.is_empty() {
            return None;
        }
        let sealed = match parts.kind {
            COMPONENT => self.shared(parts),
            _ => self.anew(&parts.addresses),
        };
        if sealed.is_none() {
            tracing::error!("An entry of the audit log lacks its addresses: they cannot be sealed");
        }
        sealed
    }

    fn shared(&self, parts: &Parts) -> Option<Arc<Value>> {
        let all = serde_json::to_vec(&(&parts.about, &parts.addresses)).ok()?;
        let all = Digest::of(&Zeroizing::new(all));
        if let Some(sealed) = self.lock().sealed.get(&all) {
            return Some(Arc::clone(sealed));
        }
        let sealed = self.anew(&parts.addresses)?;
        self.lock().keep(all, Arc::clone(&sealed));
        Some(sealed)
    }

    fn anew(&self, addresses: &BTreeMap<&'static str, Value>) -> Option<Arc<Value>> {
        let content = Zeroizing::new(serde_json::to_vec(addresses).ok()?);
        let mut header = Map::new();
        header.insert("cty".to_owned(), TYPE.into());
        let jwe = jwe::encrypt(&[&content], &self.recipients, &header).ok()?;
        serde_json::to_value(&jwe).ok().map(Arc::new)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn keep(&mut self, all: Digest, sealed: Arc<Value>) {
        if self.sealed.insert(all, sealed).is_none() {
            self.order.push_back(all);
        }
        if self.order.len() > MAX_SHARED
            && let Some(oldest) = self.order.pop_front()
        {
            self.sealed.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proplet_jose::jwk::PrivateKey;

    use super::*;
    use crate::event::{Event, Origin};

    fn sealing() -> Sealing {
        let key = PrivateKey::generate_x25519().unwrap();
        Sealing::to(vec![key.public().clone()]).unwrap()
    }

    fn component(component: &str, policy: &str, key: &str, reader: &str) -> Parts {
        Parts::from(Event::Component {
            origin: Origin::Encrypted,
            component: Digest::of(component.as_bytes()),
            image: Some(Digest::of(b"image")),
            policy: Some(Digest::of(policy.as_bytes())),
            key: Some(format!("kbs:///a/key/{key}").parse().unwrap()),
            recipients: vec![reader.to_owned()],
        })
    }

    #[test]
    fn only_what_says_the_same_in_clear_and_sealed_is_shared() {
        let sealing = sealing();
        let of = |parts: &Parts| sealing.seal(parts).unwrap();
        let first = of(&component("c", "p", "k", "r"));
        assert_eq!(first, of(&component("c", "p", "k", "r")));
        for other in [
            component("other", "p", "k", "r"),
            component("c", "other", "k", "r"),
            component("c", "p", "other", "r"),
            component("c", "p", "k", "other"),
        ] {
            assert_ne!(first, of(&other), "{other:?}");
        }
        assert_eq!(first, of(&component("c", "p", "k", "r")));
    }

    #[test]
    fn what_a_guest_asks_for_is_not() {
        let sealing = sealing();
        let secret = || {
            Parts::from(Event::Secret {
                uri: "kbs:///a/data/one".parse().unwrap(),
                refused: None,
            })
        };
        let challenge = || {
            Parts::from(Event::WorkloadEvidence {
                challenge: Digest::of(b"c"),
                refused: None,
            })
        };
        assert_ne!(sealing.seal(&secret()), sealing.seal(&secret()));
        assert_ne!(sealing.seal(&challenge()), sealing.seal(&challenge()));
        assert_eq!(sealing.seal(&Parts::new("component")), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let sealing = sealing();
        let of = |n: usize| {
            sealing
                .seal(&component(&n.to_string(), "p", "k", "r"))
                .unwrap()
        };
        let first = of(0);
        for n in 1..=MAX_SHARED {
            of(n);
        }
        let shared = sealing.lock();
        assert_eq!(
            (shared.sealed.len(), shared.order.len()),
            (MAX_SHARED, MAX_SHARED)
        );
        drop(shared);
        // The oldest is sealed anew, and the latest is not.
        assert_ne!(of(0), first);
        assert_eq!(of(MAX_SHARED), of(MAX_SHARED));
    }
}
