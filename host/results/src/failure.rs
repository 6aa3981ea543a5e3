//! Why a task of an encrypted component failed, for the data owner's eyes only.
//!
//! A trap, an error that the component returned, its standard error: all of it may repeat the data that
//! the component works on. So in clear go the host's own codes and words, and the rest is sealed to the
//! recipients like a result, with a media type that says so.

use proplet_jose::json;
use proplet_jose::jwk::PublicKey;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use crate::content::FAILURE_MEDIA_TYPE as MEDIA_TYPE;
use crate::sealed::{SealError, Sealed, seal_as};

/// A failure in the component's words: `{"error":…,"stderr":…}`. Wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Failure {
    /// The trap, or the error that the component returned.
    pub error: String,
    /// What the component wrote to standard error. Bytes that are not UTF-8 are replaced by U+FFFD.
    #[serde(default)]
    pub stderr: String,
}

/// Bytes that are not a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the content is not a failure `{{\"error\",\"stderr\"}}`, although its media type says so")]
pub struct FailureError;

impl Failure {
    /// Seals the failure.
    ///
    /// # Errors
    ///
    /// [`SealError::Jose`] as for [`crate::seal`].
    pub fn seal(&self, recipients: &[PublicKey]) -> Result<Sealed, SealError> {
        seal_as(&self.to_json(), &MEDIA_TYPE.parse()?, recipients)
    }

    /// Reads a failure from the content of an opened JWE.
    ///
    /// # Errors
    ///
    /// [`FailureError`] when it is not one.
    pub fn from_json(content: &[u8]) -> Result<Self, FailureError> {
        let members = json::object(content).map_err(|_| FailureError)?;
        serde_json::from_value(members.into()).map_err(|_| FailureError)
    }

    fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // Writing a struct of strings into a vector cannot fail; an empty content would be refused by
        // the reader, not misread. Twice the length is more than escapes need as a rule, so that the
        // buffer seldom moves and leaves copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(
            2 * (self.error.len() + self.stderr.len()) + 32,
        ));
        let _ = serde_json::to_writer(&mut *content, self);
        content
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Failure({} + {} bytes)",
            self.error.len(),
            self.stderr.len()
        )
    }
}
