//! What the host offers to a task beyond the engine: evidence, secrets and a place for the result.
//!
//! The runtime checks what does not need I/O (quotas, sizes, addresses, grants) and hands the rest to these
//! traits. They are per task: whoever implements them knows whose component it is, so no identity is passed
//! and none can be mixed up.

use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

/// The services of one task.
#[derive(Clone)]
pub struct Services {
    /// Identity and evidence.
    pub attestation: Arc<dyn Attestor>,
    /// Secrets from the key broker.
    pub secrets: Arc<dyn SecretSource>,
    /// Where the result goes.
    pub results: Arc<dyn ResultSink>,
}

/// Who this component is and what the TEE says of it.
#[async_trait]
pub trait Attestor: Send + Sync + 'static {
    /// `sha256:…` of the component's bytes.
    fn component_digest(&self) -> &str;
    /// `sha256:…` of the OCI manifest, when the component came from one.
    fn image_digest(&self) -> Option<&str>;
    /// `sha256:…` of the policy in force, when one counts.
    fn policy_digest(&self) -> Option<&str>;
    /// `sha256:…` of the settings document.
    fn settings_digest(&self) -> &str;
    /// Short name of the TEE (`snp`, `tdx`, `sample`), when there is one.
    fn tee(&self) -> Option<&str>;
    /// Whether it is hardware and not a fake.
    fn is_hardware(&self) -> bool;
    /// Evidence over a challenge of at most 64 bytes. The implementation composes the claims; the runtime
    /// has checked the length and the quota.
    ///
    /// # Errors
    /// [`AttestationError`] when there is no TEE or it does not answer.
    async fn evidence(&self, challenge: &[u8]) -> Result<WorkloadEvidence, AttestationError>;
}

/// Evidence with the claims that it signs.
#[derive(Clone, Debug)]
pub struct WorkloadEvidence {
    /// Short name of the TEE.
    pub tee: String,
    /// The claims, canonical JSON (RFC 8785). The report data is SHA-512 over these bytes.
    pub claims: String,
    /// The evidence in Trustee's JSON form.
    pub evidence: Vec<u8>,
    /// All of it as one JSON document, as `proplet verify` takes it.
    pub document: Vec<u8>,
}

/// Why there is no evidence.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// The machine has no TEE.
    #[error("this machine has no TEE that could sign evidence")]
    NoTee,
    /// The TEE did not answer, or refused. The text says what to do.
    #[error("no evidence from the TEE: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Where secrets come from.
#[async_trait]
pub trait SecretSource: Send + Sync + 'static {
    /// The secret at an address. The runtime has checked the address and the policy's grant; the
    /// implementation checks the repository and asks the key broker.
    ///
    /// # Errors
    /// [`SecretError`]; the guest sees the variant and its text.
    async fn secret(&self, uri: &str) -> Result<Zeroizing<Vec<u8>>, SecretError>;

    /// Whether the bytes of a secret that the policy lets be revealed may be revealed here and now: a
    /// source can refuse what a policy allows, never the other way round.
    fn may_reveal(&self, uri: &str) -> bool {
        let _ = uri;
        true
    }
}

/// Why there is no secret. The texts reach the guest, so they name addresses and causes, never contents.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Not an address of a secret.
    #[error("not the address of a secret: {0}")]
    InvalidUri(String),
    /// Not this component's to ask for.
    #[error("not granted: {0}")]
    NotGranted(String),
    /// The key broker refuses it to this host.
    #[error("the key broker refuses it: {0}")]
    Denied(String),
    /// The key broker has no such resource.
    #[error("not found: {0}")]
    NotFound(String),
    /// The key broker did not answer properly.
    #[error("the key broker cannot be asked: {0}")]
    Unavailable(String),
    /// The secret is larger than this many bytes.
    #[error("the secret is larger than {0} bytes")]
    TooLarge(u64),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Where the result of a task goes.
pub trait ResultSink: Send + Sync + 'static {
    /// Takes the result. The runtime has checked that it is the first, its size and its media type. It is
    /// to be sent only when the task ends well.
    ///
    /// # Errors
    /// [`PublishError`]; the guest may try again with something else.
    fn publish(&self, content: &[u8], media_type: &str) -> Result<PublishedReceipt, PublishError>;

    /// RFC 7638 thumbprints of the recipients; empty for a plain task.
    fn recipients(&self) -> Vec<String>;
}

/// What the host says about a published result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedReceipt {
    /// The receipt as a compact JWS; none for a plain task.
    pub jws: Option<String>,
    /// `sha256:…` of what goes out.
    pub digest: String,
}

/// Why a result was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A plain task can publish UTF-8 text only.
    #[error("a plain task can publish UTF-8 text only")]
    NotText,
    /// Larger than this many bytes.
    #[error("the result is larger than {0} bytes")]
    TooLarge(u64),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
