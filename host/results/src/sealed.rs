//! Sealing to the data owner's keys.

use proplet_jose::jwe::{self, Jwe};
use proplet_jose::jwk::PublicKey;
use serde_json::Map;

use crate::Digest;

/// `typ` of a sealed result: a JWE of another protocol does not pass for one.
pub(crate) const TYP: &str = "proplet-result+jwe";

/// The longest media type, in bytes.
const MAX_MEDIA_TYPE_BYTES: usize = 255;

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
    #[error("not a media type such as `text/plain; charset=utf-8`, or longer than 255 bytes")]
    MediaType,
    /// The media type that tells a failure from a result.
    #[error(
        "the media type {} is the host's own: give the result another",
        crate::failure::MEDIA_TYPE
    )]
    Reserved,
    /// The recipients or the cryptography.
    #[error("the result cannot be sealed: {0}")]
    Jose(#[from] proplet_jose::Error),
}

/// Seals a result. The media type becomes `cty` of the protected header and is therefore public, like
/// the length of the result and the thumbprints of the recipients.
///
/// # Errors
///
/// [`SealError::MediaType`] for something that is not a media type; [`SealError::Reserved`] for that of
/// [`crate::failure`]; [`SealError::Jose`] for no recipient, too many, or one listed twice.
pub fn seal(
    plaintext: &[u8],
    media_type: &str,
    recipients: &[PublicKey],
) -> Result<Sealed, SealError> {
    let essence = check_media_type(media_type)?;
    if essence.eq_ignore_ascii_case(crate::failure::MEDIA_TYPE) {
        return Err(SealError::Reserved);
    }
    seal_as(plaintext, media_type, recipients)
}

/// Seals content whose media type needs no check.
pub(crate) fn seal_as(
    plaintext: &[u8],
    media_type: &str,
    recipients: &[PublicKey],
) -> Result<Sealed, SealError> {
    let mut extra = Map::new();
    extra.insert("typ".to_owned(), TYP.into());
    let jwe = jwe::encrypt(plaintext, recipients, Some(media_type), &extra)?;
    let digest = Digest::of_json(&jwe)?;
    Ok(Sealed { jwe, digest })
}

/// A type, a slash and a subtype of RFC 6838 restricted names, then parameters in printable ASCII. Gives
/// the part before the parameters.
fn check_media_type(media_type: &str) -> Result<&str, SealError> {
    let (essence, _) = media_type.split_once(';').unwrap_or((media_type, ""));
    let essence = essence.trim_end();
    let (kind, subtype) = essence.split_once('/').ok_or(SealError::MediaType)?;
    let restricted = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    let printable = media_type.chars().all(|c| matches!(c, ' '..='~'));
    let fits = media_type.len() <= MAX_MEDIA_TYPE_BYTES;
    if fits && printable && restricted(kind) && restricted(subtype) {
        Ok(essence)
    } else {
        Err(SealError::MediaType)
    }
}
