//! What evidence vouches for, and the digest that carries it.

use proplet_jose::{jcs, jwk};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::MessageError;

/// The algorithm of the TEE key: how the KBS wraps what it releases.
pub const TEE_KEY_ALGORITHM: &str = "ECDH-ES+A256KW";

/// The hash of the runtime data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// Every TEE but IBM Secure Execution.
    Sha384,
    /// IBM Secure Execution.
    Sha512,
}

impl HashAlgorithm {
    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// The public half of the session's key, as the KBS types it.
///
/// Exactly these members: a KBS drops unknown ones before it recomputes the digest, so a `kid` would
/// make the evidence worthless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeePublicKey {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// [`TEE_KEY_ALGORITHM`].
    pub alg: String,
    /// 32 bytes in base64url.
    pub x: String,
    /// 32 bytes in base64url.
    pub y: String,
}

impl TeePublicKey {
    /// The form of a P-256 key that goes on the wire.
    ///
    /// # Errors
    /// [`MessageError::TeeKey`] for a key on another curve.
    pub fn new(key: &jwk::PublicKey) -> Result<Self, MessageError> {
        let jwk = key.to_jwk();
        let member = |name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
        match (member("kty"), member("crv"), member("x"), member("y")) {
            (Some(kty), Some(crv), Some(x), Some(y)) if kty == "EC" && crv == "P-256" => Ok(Self {
                kty,
                crv,
                alg: TEE_KEY_ALGORITHM.to_owned(),
                x,
                y,
            }),
            _ => Err(MessageError::TeeKey),
        }
    }

    /// The key, checked: curve, algorithm and point.
    ///
    /// # Errors
    /// [`MessageError::TeeKey`].
    pub fn to_public_key(&self) -> Result<jwk::PublicKey, MessageError> {
        if self.kty != "EC" || self.crv != "P-256" || self.alg != TEE_KEY_ALGORITHM {
            return Err(MessageError::TeeKey);
        }
        let jwk = json!({ "kty": self.kty, "crv": self.crv, "x": self.x, "y": self.y });
        jwk::PublicKey::from_jwk(&jwk).map_err(|_| MessageError::TeeKey)
    }
}

/// What the evidence vouches for besides the VM: the challenge and the key that answers go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeData {
    /// The challenge's nonce, as received.
    pub nonce: String,
    /// The session's key.
    pub tee_pubkey: TeePublicKey,
}

impl RuntimeData {
    /// The report data of the CPU's TEE: the hash of the canonical JSON of nonce, key and the
    /// additional evidence, which is a member even when it is empty.
    ///
    /// # Errors
    /// [`MessageError::Encode`].
    pub fn primary_digest(
        &self,
        additional_evidence: &str,
        algorithm: HashAlgorithm,
    ) -> Result<Vec<u8>, MessageError> {
        let claims = json!({
            "additional-evidence": additional_evidence,
            "nonce": self.nonce,
            "tee-pubkey": self.tee_pubkey,
        });
        digest_of(&claims, algorithm)
    }

    /// The report data of an additional device: nonce and key only.
    ///
    /// # Errors
    /// [`MessageError::Encode`].
    pub fn device_digest(&self, algorithm: HashAlgorithm) -> Result<Vec<u8>, MessageError> {
        digest_of(
            &json!({ "nonce": self.nonce, "tee-pubkey": self.tee_pubkey }),
            algorithm,
        )
    }
}

pub(super) fn digest_of(claims: &Value, algorithm: HashAlgorithm) -> Result<Vec<u8>, MessageError> {
    let text = jcs::to_string(claims).map_err(|_| MessageError::Encode("runtime data"))?;
    Ok(algorithm.digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // A throwaway key with answers that Confidential Containers' own code computed over it.
    const X: &str = "OaWCXUFYvEc_KHEazr-mFnmG9PdJYTZEz2ZpJd80UsM";
    const Y: &str = "FwrVhmfWMhOfmJ7qw_cuLx0tcIdI0q3yGIb13bTzixs";

    fn runtime_data() -> RuntimeData {
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y });
        let key = jwk::PublicKey::from_jwk(&jwk).unwrap();
        RuntimeData {
            nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(),
            tee_pubkey: TeePublicKey::new(&key).unwrap(),
        }
    }

    #[test]
    fn known_answer_of_the_device_digest() {
        let digest = runtime_data().device_digest(HashAlgorithm::Sha384).unwrap();
        assert_eq!(
            hex::encode(digest),
            "6996193fe14d1ff6a5f51e6bd2dd4d7b2cecc6c633aaa738100f6f0f52e11009b1409ec7b3f75709225d2170f70df254"
        );
    }

    #[test]
    fn known_answer_of_the_primary_digest() {
        let digest = runtime_data()
            .primary_digest("", HashAlgorithm::Sha384)
            .unwrap();
        assert_eq!(
            hex::encode(digest),
            "eb1f65a96f80332d602af5b8da9587346d141ccb9c1f1d0321826544c651db53cacbbe0f99840b78e46b6c5ab1482cfd"
        );
    }

    #[test]
    fn the_digest_covers_the_additional_evidence() {
        let data = runtime_data();
        let none = data.primary_digest("", HashAlgorithm::Sha384).unwrap();
        let some = data.primary_digest("{}", HashAlgorithm::Sha384).unwrap();
        assert_ne!(none, some);
        assert_eq!(
            data.primary_digest("", HashAlgorithm::Sha512)
                .unwrap()
                .len(),
            64
        );
    }

    #[test]
    fn the_tee_key_has_exactly_five_members() {
        let value = serde_json::to_value(runtime_data().tee_pubkey).unwrap();
        assert_eq!(
            value,
            json!({ "kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": X, "y": Y })
        );
        let back: TeePublicKey = serde_json::from_value(value).unwrap();
        assert!(back.to_public_key().is_ok());
    }

    #[test]
    fn refuses_tee_keys_that_are_not_ours() {
        let good = runtime_data().tee_pubkey;
        for bad in [
            TeePublicKey {
                kty: "RSA".to_owned(),
                ..good.clone()
            },
            TeePublicKey {
                crv: "P-521".to_owned(),
                ..good.clone()
            },
            TeePublicKey {
                alg: "RSA1_5".to_owned(),
                ..good.clone()
            },
            TeePublicKey {
                x: Y.to_owned(),
                ..good.clone()
            },
            TeePublicKey {
                x: String::new(),
                ..good
            },
        ] {
            assert_eq!(bad.to_public_key(), Err(MessageError::TeeKey));
        }
        let x25519 = jwk::PrivateKey::generate_x25519().unwrap();
        assert_eq!(
            TeePublicKey::new(x25519.public()),
            Err(MessageError::TeeKey)
        );
    }

    proptest! {
        #[test]
        fn the_key_survives_hostile_coordinates(x in ".{0,64}", y in ".{0,64}") {
            let key = TeePublicKey {
                kty: "EC".to_owned(), crv: "P-256".to_owned(),
                alg: TEE_KEY_ALGORITHM.to_owned(), x, y,
            };
            let _ = key.to_public_key();
        }
    }
}
