//! Encrypting images, in the format of the stock key provider.
//!
//! What comes out is what `skopeo` with `coco_keyprovider` makes, with a media type that stock tools
//! do not know how to choose for Wasm: `application/wasm+encrypted`. Any OCIcrypt implementation
//! that strips `+encrypted` generically opens it.

use bytes::Bytes;
use ctr::cipher::{KeyIvInit, StreamCipher};
use proplet_types::{Digest, ResourceUri};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::artifact::{Artifact, Blob};
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::media;
use crate::ocicrypt::{
    LayerEncryption, OcicryptError, PrivateOptions, PublicOptions, wrap_options,
};

/// An encrypted layer and the descriptor that says how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedLayer {
    /// Media type with `+encrypted`, digest and size of the ciphertext, and the annotations.
    pub descriptor: Descriptor,
    /// The ciphertext.
    pub bytes: Bytes,
}

/// A new random key-encryption key, for putting under a key id at the KBS.
///
/// # Errors
/// [`ImageError::Internal`] when the system's random generator fails.
pub fn random_key() -> Result<Zeroizing<[u8; 32]>, ImageError> {
    let mut key = Zeroizing::new([0; 32]);
    fill(key.as_mut_slice())?;
    Ok(key)
}

/// Encrypts a layer under fresh random key and nonce, and wraps them with A256GCM under `kek`.
///
/// `media_type` is that of the plain layer; `kek` is the 32 bytes that the KBS will release under
/// `kid`.
///
/// # Errors
/// [`ImageError::KeyMismatch`] when `kek` is not 32 bytes, [`ImageError::Layout`] for a media type
/// that is encrypted already, [`ImageError::Internal`] when the random generator fails.
pub fn encrypt_layer(
    plain: &[u8],
    kek: &[u8],
    kid: &ResourceUri,
    media_type: &str,
) -> Result<EncryptedLayer, ImageError> {
    let digest = Digest::of(plain);
    let what = format!("layer {digest}");
    if media::split_encrypted(media_type).1 {
        return Err(ImageError::layout(what, "it is encrypted already"));
    }
    let symkey = random_key()?;
    let mut nonce = [0; 16];
    fill(&mut nonce)?;

    let mut ciphertext = plain.to_vec();
    ctr::Ctr128BE::<aes::Aes256>::new_from_slices(symkey.as_slice(), &nonce)
        .map_err(|_| ImageError::Internal {
            doing: "preparing a cipher",
        })?
        .apply_keystream(&mut ciphertext);
    let mac = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, symkey.as_slice()),
        &ciphertext,
    );
    let mut hmac_bytes = [0; 32];
    for (to, from) in hmac_bytes.iter_mut().zip(mac.as_ref()) {
        *to = *from;
    }

    let private = PrivateOptions::new(symkey, digest, nonce);
    let packet = wrap_options(&private, kek, kid.clone()).map_err(|error| match error {
        OcicryptError::Random => ImageError::Internal {
            doing: "drawing random bytes",
        },
        error => ImageError::KeyMismatch {
            image: digest.to_string(),
            why: error.to_string(),
        },
    })?;
    let encryption = LayerEncryption::new(PublicOptions::new(hmac_bytes), packet);
    let annotations = encryption
        .to_annotations()
        .map_err(|e| ImageError::layout(what, e.to_string()))?;
    Ok(EncryptedLayer {
        descriptor: Descriptor {
            media_type: format!("{media_type}{}", media::ENCRYPTED_SUFFIX),
            digest: Digest::of(&ciphertext),
            size: ciphertext.len() as u64,
            annotations,
            platform: None,
        },
        bytes: ciphertext.into(),
    })
}

/// Encrypts the layer of a plain image. The config stays as it is, and so do the layer's other
/// annotations.
///
/// # Errors
/// As [`encrypt_layer`]; [`ImageError::Encrypted`] for an image that is encrypted already.
pub fn encrypt(artifact: &Artifact, kek: &[u8], kid: &ResourceUri) -> Result<Artifact, ImageError> {
    let manifest = artifact.manifest()?;
    crate::open::expect_plain(&manifest)?;
    let mut layer = encrypt_layer(artifact.layer(), kek, kid, &manifest.layer.media_type)?;
    layer
        .descriptor
        .annotations
        .extend(manifest.layer.annotations);
    let config = Blob {
        media_type: manifest.config.media_type,
        bytes: artifact.config().clone(),
    };
    Artifact::assemble(config, layer.descriptor, layer.bytes)
}

fn fill(bytes: &mut [u8]) -> Result<(), ImageError> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| ImageError::Internal {
            doing: "drawing random bytes",
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::decrypt_layer;
    use proptest::prelude::*;

    const WASM: &[u8] = b"\0asm\x01\0\0\0";

    fn kid() -> ResourceUri {
        "kbs:///default/key/1".parse().unwrap()
    }

    #[test]
    fn encrypted_artifacts_have_the_stock_form() {
        let plain = Artifact::wasm(Bytes::from_static(WASM)).unwrap();
        let encrypted = encrypt(&plain, &[1; 32], &kid()).unwrap();
        let manifest = encrypted.manifest().unwrap();
        assert_eq!(manifest.layer.media_type, "application/wasm+encrypted");
        assert_eq!(manifest.encryption.as_ref().unwrap().kid, kid());
        assert_eq!(
            manifest.config.digest,
            plain.manifest().unwrap().config.digest
        );
        let names: Vec<&str> = manifest
            .layer
            .annotations
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            names,
            [
                "org.opencontainers.image.enc.keys.provider.attestation-agent",
                "org.opencontainers.image.enc.pubopts"
            ]
        );
        assert_eq!(
            encrypt(&encrypted, &[1; 32], &kid()).unwrap_err().code(),
            "image-encrypted"
        );
    }

    #[test]
    fn two_encryptions_share_nothing() {
        let one = encrypt_layer(WASM, &[1; 32], &kid(), "application/wasm").unwrap();
        let two = encrypt_layer(WASM, &[1; 32], &kid(), "application/wasm").unwrap();
        assert_ne!(one.bytes, two.bytes);
        assert_ne!(one.descriptor.annotations, two.descriptor.annotations);
    }

    #[test]
    fn short_keys_and_double_encryption_are_refused() {
        let short = encrypt_layer(WASM, &[1; 16], &kid(), "application/wasm").unwrap_err();
        assert_eq!(short.code(), "image-key-mismatch");
        let double =
            encrypt_layer(WASM, &[1; 32], &kid(), "application/wasm+encrypted").unwrap_err();
        assert_eq!(double.code(), "image-layout");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_encrypted_opens(plain in proptest::collection::vec(any::<u8>(), 0..5000), kek: [u8; 32]) {
            let layer = encrypt_layer(&plain, &kek, &kid(), "application/wasm").unwrap();
            let opened = decrypt_layer(layer.bytes, &layer.descriptor, &kek, 1 << 20).unwrap();
            prop_assert_eq!(opened.bytes(), plain.as_slice());
            prop_assert_eq!(opened.digest(), Digest::of(&plain));
        }
    }
}
