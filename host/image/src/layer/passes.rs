//! What the passes over a layer came to.

use proplet_component::Hashed;
use proplet_types::{Digest, Hasher};
use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::compressed::digest_inside;
use super::key::LayerKey;
use crate::error::ImageError;
use crate::manifest::Descriptor;

/// What the passes over a layer came to.
pub(super) struct Passes {
    pub(super) ciphertext: Hasher,
    /// HMAC of the ciphertext and digest of the plaintext, when there was a key.
    pub(super) secret: Option<(hmac::Context, Hasher)>,
}

impl Passes {
    /// Compares what came out with what is known, and only then hands the plaintext on.
    pub(super) fn verify(
        self,
        bytes: Zeroizing<Vec<u8>>,
        layer: &Descriptor,
        key: Option<&LayerKey>,
        max_bytes: u64,
    ) -> Result<Hashed, ImageError> {
        match (key, self.secret) {
            (Some(key), Some((mac, plain))) => {
                expect_digest(layer, self.ciphertext.finish())?;
                if !bool::from(mac.sign().as_ref().ct_eq(&key.hmac)) {
                    return Err(ImageError::HmacMismatch {
                        layer: layer.digest.to_string(),
                    });
                }
                let opened = Hashed::by(plain, bytes).ok_or(MISCOUNTED)?;
                let is_plain =
                    |digest: Digest| bool::from(digest.as_bytes().ct_eq(key.plain.as_bytes()));
                if !is_plain(opened.digest())
                    && !digest_inside(opened.bytes(), max_bytes).is_some_and(is_plain)
                {
                    return Err(ImageError::PlainDigestMismatch {
                        layer: layer.digest.to_string(),
                    });
                }
                Ok(opened)
            }
            (None, None) => {
                let opened = Hashed::by(self.ciphertext, bytes).ok_or(MISCOUNTED)?;
                expect_digest(layer, opened.digest())?;
                Ok(opened)
            }
            _ => Err(MISCOUNTED),
        }
    }
}

/// The passes did not go over all of the layer, or not over the same: a mistake here.
const MISCOUNTED: ImageError = ImageError::Internal {
    doing: "opening a layer",
};

fn expect_digest(layer: &Descriptor, actual: Digest) -> Result<(), ImageError> {
    if actual == layer.digest {
        return Ok(());
    }
    Err(ImageError::DigestMismatch {
        what: name(layer),
        expected: layer.digest.to_string(),
        actual: actual.to_string(),
    })
}

pub(super) fn name(layer: &Descriptor) -> String {
    format!("layer {}", layer.digest)
}
