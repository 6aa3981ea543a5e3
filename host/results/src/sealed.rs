//! Sealing to the data owner's keys.
//!
//! Whoever carries a sealed result sees its protected header, the recipients and a length. Nothing of the
//! header depends on what is sealed, a failure included: the keys of the recipients fix all of it.

use proplet_jose::jwe::{self, Jwe};
use proplet_jose::jwk::PublicKey;
use proplet_types::{Digest, MediaType, MediaTypeError};
use serde_json::{Map, Value};

use crate::content::{self, FAILURE_MEDIA_TYPE};
use crate::digest;

/// `typ` of a sealed result: a JWE of another protocol does not pass for one.
pub(crate) const TYP: &str = "proplet-result+jwe";

/// A sealed result and the digest that a receipt names it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The result, openable by each recipient alone.
    pub jwe: Jwe,
    /// SHA-256 over the canonical JSON of `jwe`.
    pub digest: Digest,
}

/// Why a result was not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Not a media type.
    #[error(transparent)]
    MediaType(#[from] MediaTypeError),
    /// The media type that tells a failure from a result.
    #[error(
        "the media type {} is the host's own: give the result another",
        FAILURE_MEDIA_TYPE
    )]
    Reserved,
    /// The recipients or the cryptography.
    #[error("the result cannot be sealed: {0}")]
    Jose(#[from] proplet_jose::Error),
}

/// Seals a result with its media type. Public are its length, to which the media type adds its own, and
/// the thumbprints of the recipients.
///
/// # Errors
///
/// [`SealError::MediaType`] for something that is not a media type; [`SealError::Reserved`] for that of
/// [`crate::failure`]; [`SealError::Jose`] for no recipient, too many, or one listed twice.
pub fn seal(
    content: &[u8],
    media_type: &str,
    recipients: &[PublicKey],
) -> Result<Sealed, SealError> {
    let media_type: MediaType = media_type.parse()?;
    if media_type.is(FAILURE_MEDIA_TYPE) {
        return Err(SealError::Reserved);
    }
    seal_as(content, &media_type, recipients)
}

/// Seals content of any media type, the host's own included.
pub(crate) fn seal_as(
    content: &[u8],
    media_type: &MediaType,
    recipients: &[PublicKey],
) -> Result<Sealed, SealError> {
    let length = content::length_byte(media_type);
    let mut extra = Map::new();
    extra.insert("typ".to_owned(), TYP.into());
    let frame = [&length, media_type.as_str().as_bytes(), content];
    let jwe = jwe::encrypt(&frame, recipients, &extra)?;
    let digest = digest::of_json(&jwe)?;
    Ok(Sealed { jwe, digest })
}

/// Whether a protected header is that of a sealed result: the same members for each, so that none of them
/// can be anybody's words.
pub(crate) fn is_header(protected: &Map<String, Value>) -> bool {
    let names = ["alg", "enc", "epk", "kid", "typ"];
    protected.keys().all(|name| names.contains(&name.as_str()))
        && protected.get("typ").and_then(Value::as_str) == Some(TYP)
}
