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

mod compressed;
mod key;
mod passes;
mod pipeline;
mod source;

use bytes::Bytes;
use proplet_component::Hashed;
use zeroize::Zeroizing;

pub use self::key::LayerKey;
use self::passes::name;
pub use self::source::{InMemory, Next, Source};
use crate::error::ImageError;
use crate::manifest::Descriptor;

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
            passes.verify(bytes, layer, key, max_bytes)
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
    passes.verify(bytes, layer, key, max_bytes)
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

#[cfg(test)]
mod tests;
