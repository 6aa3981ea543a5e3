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
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod error;
mod requester;
mod runtime_data;

use error::MAX_NONCE_BYTES;
pub use error::MessageError;
pub use requester::{Requester, StructuredRuntimeData};
pub use runtime_data::{HashAlgorithm, RuntimeData, TEE_KEY_ALGORITHM, TeePublicKey};

/// The protocol version spoken. A KBS compares it exactly and does not negotiate.
pub const VERSION: &str = "0.4.0";

/// The cookie that names a session.
pub const SESSION_COOKIE: &str = "kbs-session-id";

/// What all error types begin with.
pub const ERROR_TYPE_PREFIX: &str = "https://github.com/confidential-containers/kbs/errors/";

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

/// Init-data sent in clear beside the evidence that holds its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentInitData {
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
    pub init_data: Option<SentInitData>,
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
    }
}
