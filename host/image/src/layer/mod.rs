//! Verifying and decrypting one layer while it arrives.
//!
//! Four passes go over a layer: the digest of the ciphertext, its HMAC, AES-256-CTR, and the digest
//! of the plaintext. Three are SHA-256, which is sequential: each can use one core only. Two threads
//! share the passes batch by batch, so the whole takes about half of their sum. A batch is small
//! enough to stay in the cache from its first pass to its last.
//!
//! The output buffer is allocated once, at the size that the descriptor names and the limit allows,
//! so no copy of the plaintext is left behind by growing. It is wiped when dropped, and it is dropped
//! here unless every check was right: the caller never sees unverified plaintext.

mod pipeline;
mod source;

use bytes::Bytes;
use proplet_component::Hashed;
use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use proplet_types::{Digest, Hasher};
pub use source::{InMemory, Next, Source};

use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::ocicrypt::{LayerEncryption, PrivateOptions, PublicOptions, unwrap_options};

/// What opens one layer: its symmetric key and nonce, the HMAC of its ciphertext and the digest of
/// its plaintext. Wiped when dropped.
pub struct LayerKey {
    symkey: Zeroizing<[u8; 32]>,
    nonce: [u8; 16],
    hmac: [u8; 32],
    plain: Digest,
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

/// Opens an encrypted layer that is in memory: unwraps its key with `kek`, decrypts and verifies.
///
/// Blocks, like [`open_in_memory`].
///
/// # Errors
/// As [`LayerKey::unwrap`] and [`open`].
pub fn decrypt_layer(
    ciphertext: Bytes,
    layer: &Descriptor,
    kek: &[u8],
    max_bytes: u64,
) -> Result<Hashed, ImageError> {
    let key = LayerKey::unwrap(layer, kek)?;
    open_in_memory(ciphertext, layer, Some(&key), max_bytes)
}

/// Opens a layer that is in memory. When nobody else holds `bytes`, it is decrypted in place, which
/// is the fastest way; else into a new buffer.
///
/// # Errors
/// As [`open`].
pub fn open_in_memory(
    bytes: Bytes,
    layer: &Descriptor,
    key: Option<&LayerKey>,
    max_bytes: u64,
) -> Result<Hashed, ImageError> {
    match bytes.try_into_mut() {
        Ok(own) => {
            let size = expected_size(layer, max_bytes)?;
            let mut bytes = Zeroizing::new(Vec::from(own));
            if bytes.len() != size {
                return Err(ImageError::SizeMismatch {
                    what: name(layer),
                    expected: layer.size,
                    actual: bytes.len() as u64,
                });
            }
            let passes = pipeline::run(None::<InMemory>, &mut bytes, key, &name(layer))?;
            passes.verify(bytes, layer, key)
        }
        Err(shared) => open(InMemory::new(shared), layer, key, max_bytes),
    }
}

/// Reads a layer from `source` to its end, decrypts it if there is a `key`, and verifies everything
/// that is known about it.
///
/// Blocks, and uses a second thread for all but small layers. `max_bytes` bounds the size that the
/// descriptor may name; the source may not give one byte more or less than that.
///
/// # Errors
/// [`ImageError::TooLarge`], [`ImageError::SizeMismatch`], [`ImageError::DigestMismatch`],
/// [`ImageError::HmacMismatch`], [`ImageError::PlainDigestMismatch`], checked in this order, or the
/// source's error.
pub fn open(
    source: impl Source,
    layer: &Descriptor,
    key: Option<&LayerKey>,
    max_bytes: u64,
) -> Result<Hashed, ImageError> {
    let mut bytes = Zeroizing::new(vec![0; expected_size(layer, max_bytes)?]);
    let passes = pipeline::run(Some(source), &mut bytes, key, &name(layer))?;
    passes.verify(bytes, layer, key)
}

fn name(layer: &Descriptor) -> String {
    format!("layer {}", layer.digest)
}

/// The size that the descriptor names, when it is within the limit.
fn expected_size(layer: &Descriptor, max_bytes: u64) -> Result<usize, ImageError> {
    usize::try_from(layer.size)
        .ok()
        .filter(|_| layer.size <= max_bytes)
        .ok_or_else(|| ImageError::TooLarge {
            what: name(layer),
            limit: max_bytes,
        })
}

/// What the passes over a layer came to.
struct Passes {
    ciphertext: Hasher,
    /// HMAC of the ciphertext and digest of the plaintext, when there was a key.
    secret: Option<(hmac::Context, Hasher)>,
}

impl Passes {
    /// Compares what came out with what is known, and only then hands the plaintext on.
    fn verify(
        self,
        bytes: Zeroizing<Vec<u8>>,
        layer: &Descriptor,
        key: Option<&LayerKey>,
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
                if !bool::from(opened.digest().as_bytes().ct_eq(key.plain.as_bytes())) {
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

#[cfg(test)]
mod tests;
