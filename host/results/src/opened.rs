//! Opening a result: verification first, then decryption.

use std::fmt;
use std::time::SystemTime;

use proplet_hal::verify::TrustPolicy;
use proplet_jose::jwk::PrivateKey;
use zeroize::Zeroizing;

use crate::ResultDocument;
use crate::content;
use crate::failure::{self, Failure};
use crate::receipt::RunOutcome;
use crate::sealed::{self, TYP};
use crate::verify::{Expectations, Report, VerifyError, verify};

/// An opened result.
pub struct Opened {
    /// The content, wiped when dropped.
    pub content: Zeroizing<Vec<u8>>,
    /// Its media type, as the component named it.
    pub media_type: String,
    /// What was verified before it was opened, and what was not.
    pub report: Report,
}

/// Why a result was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The receipt or its evidence does not verify. Anybody can seal something to a public key, so
    /// nothing is opened.
    #[error("the result is not opened, because it does not verify: {0}")]
    Verify(#[from] VerifyError),
    /// The JWE does not open with this key.
    #[error("the result cannot be opened: {0}")]
    Decrypt(#[from] proplet_jose::Error),
    /// The JWE is sealed as something else than a result.
    #[error(
        "the JWE is not a sealed result: its protected header is not that of {TYP:?}, or its content does \
         not begin with a media type"
    )]
    NotAResult,
    /// The receipt speaks of a failure, and the content is not one; or the other way round.
    #[error("the receipt says that the run {receipt:?}, but the sealed content says otherwise")]
    Outcome {
        /// What the receipt says.
        receipt: RunOutcome,
    },
}

impl Opened {
    /// The failure, when the run failed.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        if self.media_type != failure::MEDIA_TYPE {
            return None;
        }
        Failure::from_json(&self.content).ok()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Opened({} bytes, {:?})",
            self.content.len(),
            self.media_type
        )
    }
}

/// Verifies a result document, then opens it.
///
/// # Errors
///
/// [`OpenError::Verify`] when anything that [`verify`] checks is wrong, then the others.
pub fn open(
    document: &ResultDocument,
    key: &PrivateKey,
    trust: &TrustPolicy,
    expectations: &Expectations,
    now: SystemTime,
) -> Result<Opened, OpenError> {
    let report = verify(document, trust, expectations, now)?;
    let decrypted = document.jwe.decrypt(key)?;
    if !sealed::is_header(&decrypted.protected) {
        return Err(OpenError::NotAResult);
    }
    let (media_type, content) = content::split(decrypted.plaintext).ok_or(OpenError::NotAResult)?;
    let outcome = report.receipt.as_ref().map(|receipt| receipt.outcome);
    let failed = media_type.as_str() == failure::MEDIA_TYPE;
    match outcome {
        Some(receipt) if (receipt == RunOutcome::Failed) != failed => {
            Err(OpenError::Outcome { receipt })
        }
        _ => Ok(Opened {
            content,
            media_type: media_type.to_string(),
            report,
        }),
    }
}
