//! Evidence with the claims that it signs.

use std::str::FromStr;

use proplet_hal::{Evidence, EvidenceError, TeeName, TeeProvider};
use proplet_jose::json;
use proplet_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bounds::{self, MAX_EVIDENCE_BYTES, TooLarge};
use crate::claims::{Claims, ClaimsError};
use crate::digest;

/// `{"tee":…,"evidence":…,"claims":…}`: what a relying party gets to verify.
///
/// Nothing in it is secret, and nothing in it may be believed before [`crate::verify::verify_bundle`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceBundle {
    /// The TEE that the evidence claims to come from.
    pub tee: TeeName,
    /// The TEE's own evidence, in the form that Trustee's verifier takes.
    pub evidence: Value,
    /// The claims, as received: the report data is a digest over exactly these members.
    pub claims: Map<String, Value>,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The claims cannot be put together.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// The TEE gave no evidence.
    #[error("{}: {_0}", .0.code())]
    Evidence(#[from] EvidenceError),
    /// The text is larger than any that a proplet makes.
    #[error("not an evidence bundle: {0}")]
    TooLarge(#[from] TooLarge),
    /// The text is not a bundle.
    #[error("not an evidence bundle `{{\"tee\",\"evidence\",\"claims\"}}`: {0}")]
    Malformed(String),
}

impl EvidenceBundle {
    /// Has the TEE sign claims.
    ///
    /// # Errors
    ///
    /// [`BundleError::Evidence`] when the TEE gives no evidence, [`BundleError::Claims`] as
    /// [`Claims::report_data`].
    pub async fn gather(provider: &dyn TeeProvider, claims: &Claims) -> Result<Self, BundleError> {
        let evidence = provider.evidence(&claims.report_data()?).await?;
        Ok(Self::new(evidence, claims))
    }

    /// Puts evidence and the claims that it was made over together.
    #[must_use]
    pub fn new(evidence: Evidence, claims: &Claims) -> Self {
        Self {
            tee: evidence.tee,
            evidence: evidence.evidence,
            claims: claims.to_members(),
        }
    }

    /// The claims, read but not verified.
    ///
    /// # Errors
    ///
    /// As [`Claims::from_members`].
    pub fn claims(&self) -> Result<Claims, ClaimsError> {
        Claims::from_members(&self.claims)
    }

    /// The evidence without its claims, as the verifiers of `proplet-hal` take it.
    #[must_use]
    pub fn to_evidence(&self) -> Evidence {
        Evidence {
            tee: self.tee.clone(),
            evidence: self.evidence.clone(),
        }
    }

    /// The digest by which a receipt refers to this bundle: SHA-256 over its canonical JSON.
    ///
    /// # Errors
    ///
    /// As [`digest::of_json`].
    pub fn digest(&self) -> Result<Digest, proplet_jose::Error> {
        digest::of_json(self)
    }

    /// Refuses a bundle that is larger than any evidence.
    pub(crate) fn check_size(&self) -> Result<(), TooLarge> {
        let claims = self.claims.iter();
        let claims = claims.map(|(name, value)| name.len().saturating_add(bounds::weight(value)));
        let size = claims.fold(bounds::weight(&self.evidence), usize::saturating_add);
        bounds::check("evidence", size, MAX_EVIDENCE_BYTES)
    }

    /// The bundle as one line of JSON.
    ///
    /// # Errors
    ///
    /// [`BundleError::Malformed`] when the evidence cannot be written as JSON.
    pub fn to_text(&self) -> Result<String, BundleError> {
        serde_json::to_string(self).map_err(|error| BundleError::Malformed(error.to_string()))
    }
}

impl FromStr for EvidenceBundle {
    type Err = BundleError;

    /// Reads a bundle from its JSON text. No member may be named twice, and there may be no others.
    fn from_str(text: &str) -> Result<Self, BundleError> {
        let malformed = |reason: String| BundleError::Malformed(reason);
        bounds::check("text", text.len(), MAX_EVIDENCE_BYTES)?;
        bounds::check_text(text)?;
        let value = json::value(text.as_bytes()).map_err(|error| malformed(error.to_string()))?;
        serde_json::from_value(value).map_err(|error| malformed(error.to_string()))
    }
}
