//! Who this component is, where it runs, and evidence of both.
//!
//! The host composes everything. A component chooses the challenge and nothing else, so it can speak
//! neither for another component nor for the host. What [`identity`] and [`platform`] say is for the
//! component's own use: whoever must not be lied to checks [`evidence`] instead.
//!
//! ```
//! use proplet_sdk::{attestation, testing::{Evidence, Host}};
//!
//! # fn main() -> Result<(), attestation::Error> {
//! # let host = Host::new().with_evidence(Evidence::default());
//! # host.run(|| {
//! let evidence = attestation::evidence(b"chosen by the relying party")?;
//! assert_eq!(evidence.report_data().len(), 64);
//! # Ok(())
//! # })
//! # }
//! ```

use std::fmt;

#[cfg(not(target_family = "wasm"))]
use self::native as host;
#[cfg(target_family = "wasm")]
use crate::bindings::propeller::confidential::attestation as host;
use crate::bindings::propeller::confidential::attestation::AttestationError as Raw;
use crate::known::{InterfaceError, Known};

/// The errors of this interface.
pub(crate) const ERRORS: &[Known] = &[Known::of::<Error>()];

impl InterfaceError for Error {}

/// Why no evidence was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The challenge is longer than 64 bytes.
    #[error("the challenge is {length} bytes long and may have 64 at most: send a digest of it")]
    ChallengeTooLong {
        /// Length of the challenge in bytes.
        length: u32,
    },
    /// There is nothing that could sign evidence.
    #[error("this machine has no TEE, so nothing can sign evidence: run the task on one that has")]
    NoTee,
    /// This task has used up its evidence.
    #[error(
        "this task has made the {quota} pieces of evidence that it may: reuse one, or ask the \
         operator for more"
    )]
    QuotaExceeded {
        /// How many this task may make.
        quota: u32,
    },
    /// The TEE did not answer, or refused.
    #[error("the TEE gave no evidence: {0}")]
    Unavailable(String),
    /// Anything else, in the host's words.
    #[error("no evidence: {0}")]
    Other(String),
}

/// Who the component is, as the host sees it. Digests are `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Digest of the component's bytes as they were compiled, its policy among them.
    pub component_digest: String,
    /// Digest of the OCI manifest that the component came from, when it came from a registry.
    pub image_digest: Option<String>,
    /// Digest of the policy in force. None when no policy counts for this component.
    pub policy_digest: Option<String>,
    /// Digest of the host's settings document.
    pub settings_digest: String,
    /// Identifier of the task, chosen by the orchestrator, which is not trusted.
    pub task_id: String,
}

/// Where the component runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Platform {
    /// Short name of the TEE: `snp`, `tdx` or `sample`. None when there is none.
    pub tee: Option<String>,
    /// True when a hardware TEE protects this component. False for every fake.
    pub is_hardware: bool,
}

/// Who this component is.
pub fn identity() -> Identity {
    Identity {
        component_digest: host::component_digest(),
        image_digest: host::image_digest(),
        policy_digest: host::policy_digest(),
        settings_digest: host::settings_digest(),
        task_id: host::task_id(),
    }
}

/// Which TEE this component runs in, if any.
pub fn platform() -> Platform {
    Platform {
        tee: host::tee(),
        is_hardware: host::is_hardware(),
    }
}

/// Evidence about this component over `challenge`, at most 64 bytes which the relying party chose at
/// random. Longer challenges: send a digest.
///
/// It may take milliseconds to seconds, and each task has a quota (16 unless the operator changed it).
///
/// # Errors
///
/// The challenge is too long, the machine has no TEE, the quota is used up, or the TEE did not answer.
pub fn evidence(challenge: impl AsRef<[u8]>) -> Result<Evidence, Error> {
    Ok(Evidence(host::evidence(challenge.as_ref())?))
}

/// Evidence with the claims that it signs.
pub struct Evidence(host::EvidenceBundle);

impl Evidence {
    /// Short name of the TEE that signed.
    pub fn tee(&self) -> String {
        self.0.tee()
    }

    /// The claims: an object of strings in canonical JSON (RFC 8785), with `eat_nonce` the challenge
    /// in base64url without padding, and the digests of [`Identity`].
    pub fn claims(&self) -> String {
        self.0.claims()
    }

    /// The report data that the TEE signed: SHA-512 over the bytes of [`claims`](Self::claims), 64 bytes.
    pub fn report_data(&self) -> Vec<u8> {
        self.0.report_data()
    }

    /// What the TEE signed, JSON in the form that Trustee's attestation service takes for this TEE.
    pub fn raw(&self) -> Vec<u8> {
        self.0.evidence()
    }

    /// Evidence and claims as one JSON document, which `proplet verify` takes.
    pub fn to_json(&self) -> Vec<u8> {
        self.0.to_json()
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence").finish_non_exhaustive()
    }
}

impl From<Raw> for Error {
    fn from(error: Raw) -> Self {
        match error {
            Raw::ChallengeTooLong(length) => Self::ChallengeTooLong { length },
            Raw::NoTee => Self::NoTee,
            Raw::QuotaExceeded(quota) => Self::QuotaExceeded { quota },
            Raw::Unavailable(text) => Self::Unavailable(text),
            Raw::Other(text) => Self::Other(text),
        }
    }
}

/// The interface in tests: the signatures of the generated bindings, and what a test gives to its host.
#[cfg(not(target_family = "wasm"))]
pub(crate) mod native {
    use std::cell::RefCell;

    use crate::bindings::propeller::confidential::attestation::AttestationError;
    use crate::testing::{Host, part};

    /// What [`crate::attestation::evidence`] gives in a test, as the test wants it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Evidence {
        /// Short name of the TEE.
        pub tee: String,
        /// The claims, JSON.
        pub claims: String,
        /// The report data, 64 bytes.
        pub report_data: Vec<u8>,
        /// The evidence, JSON.
        pub evidence: String,
    }

    /// Evidence that no verifier accepts.
    impl Default for Evidence {
        fn default() -> Self {
            Self {
                tee: "sample".into(),
                claims: r#"{"kind":"workload"}"#.into(),
                report_data: vec![0; 64],
                evidence: "{}".into(),
            }
        }
    }

    /// The evidence of the host's TEE, if it has one.
    #[derive(Default)]
    struct State(RefCell<Option<Evidence>>);

    impl Host {
        /// Gives the host a TEE that answers every challenge with `evidence`.
        #[must_use]
        pub fn with_evidence(self, evidence: Evidence) -> Self {
            *self.part::<State>().0.borrow_mut() = Some(evidence);
            self
        }
    }

    const NO_DIGEST: &str =
        "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    pub(crate) struct EvidenceBundle(Evidence);

    impl EvidenceBundle {
        pub(crate) fn tee(&self) -> String {
            self.0.tee.clone()
        }
        pub(crate) fn claims(&self) -> String {
            self.0.claims.clone()
        }
        pub(crate) fn report_data(&self) -> Vec<u8> {
            self.0.report_data.clone()
        }
        pub(crate) fn evidence(&self) -> Vec<u8> {
            self.0.evidence.clone().into_bytes()
        }
        pub(crate) fn to_json(&self) -> Vec<u8> {
            let Evidence {
                tee,
                claims,
                evidence,
                ..
            } = &self.0;
            format!(r#"{{"claims":{claims},"evidence":{evidence},"tee":"{tee}"}}"#).into_bytes()
        }
    }

    pub(crate) fn component_digest() -> String {
        part::<State>("attestation::identity");
        NO_DIGEST.into()
    }
    pub(crate) fn image_digest() -> Option<String> {
        None
    }
    pub(crate) fn policy_digest() -> Option<String> {
        None
    }
    pub(crate) fn settings_digest() -> String {
        NO_DIGEST.into()
    }
    pub(crate) fn task_id() -> String {
        "cargo-test".into()
    }
    pub(crate) fn tee() -> Option<String> {
        part::<State>("attestation::platform")
            .0
            .borrow()
            .as_ref()
            .map(|it| it.tee.clone())
    }
    pub(crate) fn is_hardware() -> bool {
        false
    }
    pub(crate) fn evidence(challenge: &[u8]) -> Result<EvidenceBundle, AttestationError> {
        let state = part::<State>("attestation::evidence");
        if challenge.len() > 64 {
            let length = u32::try_from(challenge.len()).unwrap_or(u32::MAX);
            return Err(AttestationError::ChallengeTooLong(length));
        }
        let evidence = state.0.borrow().clone().ok_or(AttestationError::NoTee)?;
        Ok(EvidenceBundle(evidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Host};

    #[test]
    fn evidence_needs_a_tee() {
        Host::new().run(|| assert_eq!(evidence(b"nonce").unwrap_err(), Error::NoTee));
    }

    #[test]
    fn a_challenge_of_65_bytes_is_refused() {
        Host::new()
            .with_evidence(testing::Evidence::default())
            .run(|| {
                assert_eq!(
                    evidence([0; 65]).unwrap_err(),
                    Error::ChallengeTooLong { length: 65 }
                );
                assert!(evidence([0; 64]).is_ok());
            });
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = Error::from(Raw::QuotaExceeded(16)).to_string();
        assert!(text.contains("16") && text.contains("operator"), "{text}");
        let text = Error::from(Raw::Unavailable("busy, try again".into())).to_string();
        assert_eq!(text, "the TEE gave no evidence: busy, try again");
    }

    #[test]
    fn the_fake_is_not_hardware() {
        Host::new().run(|| {
            assert_eq!(
                platform(),
                Platform {
                    tee: None,
                    is_hardware: false
                }
            )
        });
    }
}
