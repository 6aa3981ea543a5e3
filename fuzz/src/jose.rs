//! Keys, signatures and sealed messages.

use std::sync::OnceLock;

use proplet_jose::jwe::Jwe;
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_jose::jws::{self, SigningKey, VerifyingKey};
use proplet_jose::{jcs, json, keyfile};

use crate::text;

/// A JWE: it reads as the same again, and does not open with a key that it was not sealed to.
pub fn jwe(bytes: &[u8]) -> bool {
    static STRANGERS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    let strangers = STRANGERS.get_or_init(|| {
        let keys = [PrivateKey::generate_p256(), PrivateKey::generate_x25519()];
        keys.into_iter().flatten().collect()
    });
    let Some(Ok(jwe)) = text(bytes).map(str::parse::<Jwe>) else {
        return false;
    };
    assert!(!jwe.recipients().is_empty());
    let written = serde_json::to_string(&jwe).unwrap_or_default();
    assert!(written.parse::<Jwe>().as_ref() == Ok(&jwe), "{written}");
    for key in strangers {
        assert!(jwe.decrypt(key).is_err());
    }
    true
}

/// A compact JWS: nothing verifies under keys that signed nothing.
pub fn jws(bytes: &[u8]) -> bool {
    static KEYS: OnceLock<Vec<VerifyingKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let es256 = SigningKey::generate().map(|key| key.public_jwk());
        let ed25519 = jws::EdDsaSigningKey::generate().map(|key| key.public_jwk());
        let jwks = [es256, ed25519].into_iter().flatten();
        jwks.filter_map(|jwk| VerifyingKey::from_jwk(&jwk).ok())
            .collect()
    });
    let Some(text) = text(bytes) else {
        return false;
    };
    let Ok(header) = jws::peek_header(text) else {
        return false;
    };
    for key in keys {
        assert!(key.verify_compact(text).is_err());
    }
    if let Some(Ok(key)) = header.get("jwk").map(VerifyingKey::from_jwk) {
        let _ = key.verify_compact(text);
    }
    true
}

/// A JWK or a set of them, and the JSON that they stand in: canonical JSON is read as the same.
pub fn jwk(bytes: &[u8]) -> bool {
    let Ok(value) = json::value(bytes) else {
        return false;
    };
    if let Ok(canonical) = jcs::to_string(&value) {
        let again = json::value(canonical.as_bytes()).and_then(|value| jcs::to_string(&value));
        assert_eq!(again, Ok(canonical));
    }
    let mut is_key = false;
    if let Ok(keys) = PublicKey::from_jwk_set(&value) {
        for key in keys {
            let again = PublicKey::from_jwk(&key.to_jwk());
            assert_eq!(
                again.as_ref().map(PublicKey::thumbprint),
                Ok(key.thumbprint())
            );
        }
        is_key = true;
        assert!(
            PrivateKey::from_jwk(&value).is_err(),
            "a key is public and private"
        );
    }
    if let Ok(key) = VerifyingKey::from_jwk(&value) {
        assert!(!key.thumbprint().is_empty());
    }
    if let Ok(key) = PrivateKey::from_jwk(&value) {
        is_key = true;
        let written = json::value(key.to_jwk().as_bytes());
        let again = written.and_then(|jwk| PrivateKey::from_jwk(&jwk));
        assert_eq!(
            again.map(|again| again.public().thumbprint()),
            Ok(key.public().thumbprint())
        );
    }
    is_key
}

/// A file with a key or several, PEM or JSON.
pub fn keyfile(bytes: &[u8]) -> bool {
    let private = keyfile::private_key(bytes);
    let public = keyfile::public_keys(bytes);
    assert!(public.as_ref().is_ok_and(|keys| !keys.is_empty()) || public.is_err());
    private.is_ok() || public.is_ok()
}
