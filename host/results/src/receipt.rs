//! Receipts: what the host says about one run, signed.
//!
//! A receipt is a JWS in compact form (RFC 7515), ES256, `typ` `proplet-receipt+jws`, with the public
//! key in its header. The key is made per boot, lives in memory, signs nothing but receipts, and its
//! thumbprint is in the claims of the host's `instance` evidence; a receipt names that evidence by
//! digest. So a task costs one signature and no quote.
//!
//! A receipt proves **one** run, not the only one and not the latest: who needs freshness puts a nonce
//! into the inputs, whose digest is here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use proplet_hal::Flavour;
use proplet_jose::json;
use proplet_jose::jws::{self, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use proplet_types::Digest;

/// `typ` of a receipt.
pub const TYP: &str = "proplet-receipt+jws";

/// Why a receipt was not made or not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The JWS is malformed, or its signature does not verify.
    #[error("the receipt cannot be believed: {0}")]
    Jose(#[from] proplet_jose::Error),
    /// `typ` says that the JWS is something else.
    #[error("the JWS is not a receipt: its `typ` is not {TYP:?}")]
    Type,
    /// There is no `jwk` in the header.
    #[error("the receipt does not bring its key: its header has no `jwk`")]
    NoKey,
    /// The payload is not what a receipt says.
    #[error("the payload of the receipt is malformed: {0}")]
    Payload(String),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// The component ended well; the JWE holds its result.
    Completed,
    /// The component failed; the JWE holds a [`crate::failure::Failure`].
    Failed,
}

/// What a receipt says. Members that do not apply are absent, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptClaims {
    /// The task, as the orchestrator chose its id. The orchestrator is not trusted.
    pub task_id: String,
    /// The invocation of a latent task, as the orchestrator chose its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// Place of this receipt among all that its key signed, from 1. The key is made per boot, so a gap is a
    /// receipt that somebody kept back, or that a component's later result replaced.
    pub sequence: u64,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// Digest of the component's bytes as they were compiled.
    pub component_digest: Digest,
    /// Digest of the OCI manifest, when the component came from an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Digest>,
    /// Digest of the policy in force, when one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<Digest>,
    /// Digest of the host's settings document.
    pub settings_digest: Digest,
    /// What gathers evidence on this host.
    pub attester: String,
    /// `debug` when the host is of the debug flavour of the VM image; absent otherwise.
    #[serde(default, skip_serializing_if = "Flavour::is_sealed")]
    pub flavour: Flavour,
    /// The export that was invoked.
    pub export: String,
    /// [`crate::digest::of_arguments`] of the arguments as received.
    pub arguments_digest: Digest,
    /// [`crate::digest::of_environment`] of the environment as received.
    pub environment_digest: Digest,
    /// [`crate::digest::of_inputs`] of the inputs as received, sealed or not.
    pub inputs_digest: Digest,
    /// Digest of the JWE as sent: SHA-256 over its canonical JSON.
    pub result_digest: Digest,
    /// RFC 7638 thumbprints of the recipients, in the order of the JWE.
    pub recipients: Vec<String>,
    /// The limits that were in force, by name: `memory_bytes`, `cpu_ms` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
    /// When the host began, by a clock that the hypervisor sets.
    pub untrusted_start: UntrustedTime,
    /// When the host ended, by a clock that the hypervisor sets.
    pub untrusted_finish: UntrustedTime,
    /// Head of the task's audit chain when the receipt was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<String>,
    /// Digest of the `instance` evidence bundle that vouches for the receipt key.
    pub evidence_digest: Digest,
}

/// The key that signs receipts, made per boot.
#[derive(Debug)]
pub struct ReceiptKey {
    key: SigningKey,
    /// The next receipt's place.
    next: AtomicU64,
}

impl ReceiptKey {
    /// A new key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::Jose`] when there are no random bytes.
    pub fn generate() -> Result<Self, ReceiptError> {
        Ok(Self {
            key: SigningKey::generate()?,
            next: AtomicU64::new(1),
        })
    }

    /// The place of the receipt that is made next. Every call gives another.
    pub fn next_sequence(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// RFC 7638 thumbprint: the claim `cnf`.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// The public part as a JWK.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        self.key.public_jwk()
    }

    /// Signs a receipt, as a compact JWS.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::Jose`] when there are no random bytes.
    pub fn sign(&self, claims: &ReceiptClaims) -> Result<String, ReceiptError> {
        let mut header = Map::new();
        header.insert("typ".to_owned(), TYP.into());
        header.insert("jwk".to_owned(), self.key.public_jwk());
        // Not canonical JSON, which would round large limits: the signature covers the bytes as they are.
        let payload =
            serde_json::to_vec(claims).map_err(|error| ReceiptError::Payload(error.to_string()))?;
        Ok(self.key.sign_compact(&header, &payload)?)
    }
}

/// A receipt whose signature verifies with the key in its own header.
///
/// That says nothing yet about whose key it is: compare [`SelfSigned::thumbprint`] with `cnf` of
/// verified claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelfSigned {
    pub(crate) claims: ReceiptClaims,
    pub(crate) thumbprint: String,
}

impl SelfSigned {
    /// Reads a receipt.
    pub(crate) fn read(receipt: &str) -> Result<Self, ReceiptError> {
        let header = jws::peek_header(receipt)?;
        let key = VerifyingKey::from_jwk(header.get("jwk").ok_or(ReceiptError::NoKey)?)?;
        let verified = key.verify_compact(receipt)?;
        if verified.header.get("typ").and_then(Value::as_str) != Some(TYP) {
            return Err(ReceiptError::Type);
        }
        let payload = json::object(&verified.payload)?;
        let claims = serde_json::from_value(payload.into())
            .map_err(|error| ReceiptError::Payload(error.to_string()))?;
        Ok(Self {
            claims,
            thumbprint: key.thumbprint().to_owned(),
        })
    }
}

/// What a receipt says, once its signature verifies with the key in its own header, and that key's thumbprint. For
/// whoever compares a receipt with something else of the host's: whose key it is, only [`crate::verify`] tells.
///
/// # Errors
///
/// [`ReceiptError`].
pub fn self_signed(receipt: &str) -> Result<(ReceiptClaims, String), ReceiptError> {
    let SelfSigned { claims, thumbprint } = SelfSigned::read(receipt)?;
    Ok((claims, thumbprint))
}

/// A time of day that the hypervisor may have set, in RFC 3339 and UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UntrustedTime(OffsetDateTime);

impl From<SystemTime> for UntrustedTime {
    /// Whole milliseconds. A time outside the years 0 to 9999 becomes the start of 1970: it is no more
    /// wrong.
    fn from(time: SystemTime) -> Self {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let nanos = i128::try_from(since.as_millis()).unwrap_or_default() * 1_000_000;
        Self(OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH))
    }
}

impl TryFrom<String> for UntrustedTime {
    type Error = time::error::Parse;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        OffsetDateTime::parse(&text, &Rfc3339).map(Self)
    }
}

impl From<UntrustedTime> for String {
    fn from(time: UntrustedTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for UntrustedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years beyond 9999 have no RFC 3339 form; a clock that far off is as good as none.
        f.write_str(
            &self
                .0
                .format(&Rfc3339)
                .unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned()),
        )
    }
}
