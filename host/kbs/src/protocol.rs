//! The messages of the KBS attestation protocol 0.4.0 (Request, Challenge, Attestation, Response) and
//! the digest that binds them to the evidence.
//!
//! Public, because a key broker for tests and replays of recordings need the same types. The order of
//! an exchange is: [`Request`] → [`Challenge`] → evidence over [`RuntimeData::primary_digest`] →
//! [`Attestation`] → a token. The token's message is not here: tokens do not leave this crate.
//!
//! Source: Trustee `kbs/docs/kbs_attestation_protocol.md` and the crate `kbs-types`. Member names mix
//! kebab-case (outside) and snake_case (inside `tee-evidence`) on the wire.

use std::fmt;

use proplet_hal::TeeName;
use proplet_jose::{jcs, jwk};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The protocol version spoken. A KBS compares it exactly and does not negotiate.
pub const VERSION: &str = "0.4.0";

/// The cookie that names a session.
pub const SESSION_COOKIE: &str = "kbs-session-id";

/// The algorithm of the TEE key: how the KBS wraps what it releases.
pub const TEE_KEY_ALGORITHM: &str = "ECDH-ES+A256KW";

/// What all error types begin with.
pub const ERROR_TYPE_PREFIX: &str = "https://github.com/confidential-containers/kbs/errors/";

/// The longest nonce that is accepted, in bytes. A KBS sends 44.
const MAX_NONCE_BYTES: usize = 1024;

/// Why a message is not of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not JSON, or not of this shape. Holds no part of the message.
    #[error("the {message} is not JSON of the expected shape (line {line}, column {column})")]
    Json {
        /// Which message.
        message: &'static str,
        /// Where it stopped making sense.
        line: usize,
        /// Where it stopped making sense.
        column: usize,
    },
    /// The nonce is empty, too long, or not printable ASCII.
    #[error("the nonce is not 1 to {MAX_NONCE_BYTES} printable ASCII characters")]
    Nonce,
    /// The KBS chose a hash algorithm that is not supported.
    #[error("`selected-hash-algorithm` is not a supported one (sha384, sha512)")]
    HashAlgorithm,
    /// A value cannot be written as JSON.
    #[error("the {0} cannot be written as canonical JSON")]
    Encode(&'static str),
    /// The key is not on P-256.
    #[error("the TEE key is not an EC key on P-256")]
    TeeKey,
}

/// POST `/kbs/v0/auth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// [`VERSION`].
    pub version: String,
    /// The TEE that the evidence will come from.
    pub tee: TeeName,
    /// Any JSON; ours lists the hash algorithms, as the reference client's does.
    pub extra_params: Value,
}

impl Request {
    /// The request for a handshake with evidence of `tee`.
    pub fn new(tee: TeeName) -> Self {
        let extra_params =
            json!({ "supported-hash-algorithms": ["sha256", "sha384", "sha512", "sm3"] });
        Self {
            version: VERSION.to_owned(),
            tee,
            extra_params,
        }
    }
}

/// The answer to [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Challenge {
    /// Fresh random bytes in base64. Used as text, never decoded.
    pub nonce: String,
    /// `""` but for TEEs that need more.
    pub extra_params: Value,
}

impl Challenge {
    /// Parses the body of the answer.
    ///
    /// # Errors
    /// [`MessageError::Json`] or [`MessageError::Nonce`].
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let challenge: Self = from_json("challenge", body)?;
        let nonce = challenge.nonce.as_bytes();
        let printable = nonce.iter().all(u8::is_ascii_graphic);
        if nonce.is_empty() || nonce.len() > MAX_NONCE_BYTES || !printable {
            return Err(MessageError::Nonce);
        }
        Ok(challenge)
    }

    /// The hash for the report data: what `extra-params.selected-hash-algorithm` says, else SHA-384.
    ///
    /// # Errors
    /// [`MessageError::HashAlgorithm`] for anything but `sha384` and `sha512`, in any case: a shorter
    /// hash is not a choice that the other side may make.
    pub fn hash_algorithm(&self) -> Result<HashAlgorithm, MessageError> {
        let Some(selected) = self.extra_params.get("selected-hash-algorithm") else {
            return Ok(HashAlgorithm::Sha384);
        };
        let name = selected.as_str().ok_or(MessageError::HashAlgorithm)?;
        match name.to_ascii_lowercase().as_str() {
            "sha384" => Ok(HashAlgorithm::Sha384),
            "sha512" => Ok(HashAlgorithm::Sha512),
            _ => Err(MessageError::HashAlgorithm),
        }
    }
}

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

fn digest_of(claims: &Value, algorithm: HashAlgorithm) -> Result<Vec<u8>, MessageError> {
    let text = jcs::to_string(claims).map_err(|_| MessageError::Encode("runtime data"))?;
    Ok(algorithm.digest(text.as_bytes()))
}

/// Init-data sent in clear beside the evidence that holds its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitData {
    /// `toml`.
    pub format: String,
    /// The document.
    pub body: String,
}

/// Evidence of the CPU's TEE and, in one string, of devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeeEvidence {
    /// The evidence JSON of the TEE named in [`Request`].
    pub primary_evidence: Value,
    /// Empty, or the JSON text of an object from TEE names to evidence.
    pub additional_evidence: String,
}

/// POST `/kbs/v0/attest`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation {
    /// `null` when there is none.
    #[serde(default)]
    pub init_data: Option<InitData>,
    /// What the evidence vouches for.
    pub runtime_data: RuntimeData,
    /// The evidence.
    pub tee_evidence: TeeEvidence,
}

/// The body of an error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// [`ERROR_TYPE_PREFIX`] and a variant's name.
    #[serde(rename = "type")]
    pub error_type: String,
    /// Words.
    #[serde(default)]
    pub detail: String,
}

impl ErrorBody {
    /// Parses the body of an answer with an error status. `None` when it is not of this shape, as
    /// from a proxy before the KBS.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let error: Self = serde_json::from_slice(body).ok()?;
        error
            .error_type
            .starts_with(ERROR_TYPE_PREFIX)
            .then_some(error)
    }

    /// The variant's name, such as `PolicyDeny`.
    pub fn variant(&self) -> &str {
        self.error_type
            .strip_prefix(ERROR_TYPE_PREFIX)
            .unwrap_or(&self.error_type)
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variant(), self.detail)
    }
}

/// Parses JSON without letting any of it into the error.
pub(crate) fn from_json<'a, T: Deserialize<'a>>(
    message: &'static str,
    body: &'a [u8],
) -> Result<T, MessageError> {
    serde_json::from_slice(body).map_err(|error| MessageError::Json {
        message,
        line: error.line(),
        column: error.column(),
    })
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

    #[test]
    fn the_hash_is_sha384_unless_the_challenge_selects_another() {
        let select = |extra: Value| {
            Challenge {
                nonce: "AAAA".to_owned(),
                extra_params: extra,
            }
            .hash_algorithm()
        };
        for none in [json!(""), json!({}), Value::Null, json!([])] {
            assert_eq!(select(none), Ok(HashAlgorithm::Sha384));
        }
        let named = |name: &str| select(json!({ "selected-hash-algorithm": name }));
        assert_eq!(named("sha384"), Ok(HashAlgorithm::Sha384));
        assert_eq!(named("SHA512"), Ok(HashAlgorithm::Sha512));
        for bad in ["sha256", "sm3", "", "md5"] {
            assert_eq!(named(bad), Err(MessageError::HashAlgorithm), "{bad}");
        }
        assert_eq!(
            select(json!({ "selected-hash-algorithm": 1 })),
            Err(MessageError::HashAlgorithm)
        );
    }

    #[test]
    fn refuses_challenges_without_a_usable_nonce() {
        for nonce in [
            "",
            "a b",
            "a\\n",
            "\\u00e9",
            &"A".repeat(MAX_NONCE_BYTES + 1),
        ] {
            let body = format!("{{\"nonce\":\"{nonce}\",\"extra-params\":\"\"}}");
            assert_eq!(
                Challenge::parse(body.as_bytes()),
                Err(MessageError::Nonce),
                "{nonce}"
            );
        }
        for body in [
            "",
            "{}",
            "[]",
            "{\"nonce\":1,\"extra-params\":\"\"}",
            "{\"nonce\":\"AA\"}",
        ] {
            assert!(matches!(
                Challenge::parse(body.as_bytes()),
                Err(MessageError::Json {
                    message: "challenge",
                    ..
                })
            ));
        }
    }

    #[test]
    fn tells_error_bodies_from_other_answers() {
        let body = br#"{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"no"}"#;
        let error = ErrorBody::parse(body).unwrap();
        assert_eq!(error.variant(), "PolicyDeny");
        assert_eq!(error.to_string(), "PolicyDeny: no");
        for other in [
            "",
            "<html>",
            "{}",
            "{\"type\":\"about:blank\",\"detail\":\"x\"}",
        ] {
            assert_eq!(ErrorBody::parse(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Challenge::parse(&bytes);
            let _ = ErrorBody::parse(&bytes);
            let _ = from_json::<Attestation>("attestation", &bytes);
        }

        #[test]
        fn challenges_round_trip(nonce in "[!-~]{1,64}", extra in "\\PC{0,16}") {
            let challenge = Challenge { nonce, extra_params: json!({ "x": extra }) };
            let text = serde_json::to_vec(&challenge).unwrap();
            prop_assert_eq!(Challenge::parse(&text), Ok(challenge));
        }

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
