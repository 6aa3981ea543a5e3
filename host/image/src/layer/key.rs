//! What opens a layer.

use proplet_types::Digest;
use zeroize::Zeroizing;

use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::ocicrypt::{LayerEncryption, PrivateOptions, PublicOptions, unwrap_options};

/// What opens one layer: its symmetric key and nonce, the HMAC of its ciphertext and the digest of
/// its plaintext. Wiped when dropped.
pub struct LayerKey {
    pub(super) symkey: Zeroizing<[u8; 32]>,
    pub(super) nonce: [u8; 16],
    pub(super) hmac: [u8; 32],
    pub(super) plain: Digest,
}

impl LayerKey {
    /// The key of a layer with these options.
    pub fn new(private: &PrivateOptions, public: &PublicOptions) -> Self {
        Self {
            symkey: Zeroizing::new(*private.symkey()),
            nonce: *private.nonce(),
            hmac: *public.hmac(),
            plain: private.digest(),
        }
    }

    /// Unwraps the key of a layer with the key-encryption key of its preferred packet.
    ///
    /// # Errors
    /// [`ImageError::NotEncrypted`] for a plain layer, [`ImageError::Layout`] for malformed
    /// annotations, [`ImageError::KeyMismatch`] for another key.
    pub fn unwrap(layer: &Descriptor, kek: &[u8]) -> Result<Self, ImageError> {
        let what = || format!("layer {}", layer.digest);
        let encryption = LayerEncryption::from_annotations(&layer.annotations)
            .map_err(|e| ImageError::layout(what(), e.to_string()))?
            .ok_or_else(|| ImageError::NotEncrypted {
                image: layer.digest.to_string(),
            })?;
        let private = unwrap_options(encryption.preferred(), kek)
            .and_then(|private| {
                private.agree_with(encryption.public())?;
                Ok(private)
            })
            .map_err(|e| ImageError::KeyMismatch {
                image: layer.digest.to_string(),
                why: e.to_string(),
            })?;
        Ok(Self::new(&private, encryption.public()))
    }
}
