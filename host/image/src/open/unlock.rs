//! Choosing a layer's key among the packets that hold it.

use proplet_types::ResourceUri;

use super::policy::{PullPolicy, check_key_type, check_kid};
use crate::error::ImageError;
use crate::keys::KeySource;
use crate::layer::LayerKey;
use crate::manifest::{Encryption, Manifest};
use crate::ocicrypt::{AnnotationPacket, OcicryptError, PrivateOptions, WrapType, unwrap_options};

/// A layer's key and which packet it came from.
pub(crate) struct Unlocked {
    pub(crate) key: LayerKey,
    pub(crate) kid: ResourceUri,
    pub(crate) wrap: WrapType,
}

/// Gets the layer's key: the first packet that the policy allows and whose key is released and fits.
pub(crate) async fn unlock(
    manifest: &Manifest,
    encryption: &Encryption,
    keys: &dyn KeySource,
    policy: &PullPolicy,
) -> Result<Unlocked, ImageError> {
    let authenticated_first = |wrap: WrapType| {
        encryption
            .layer
            .packets()
            .filter(move |packet| packet.wrap() == wrap)
    };
    let packets =
        authenticated_first(WrapType::A256Gcm).chain(authenticated_first(WrapType::A256Ctr));
    let mut first_error = None;
    for packet in packets {
        match try_packet(manifest, encryption, packet, keys, policy).await {
            Ok(unlocked) => return Ok(unlocked),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| ImageError::NotEncrypted {
        image: manifest.digest.to_string(),
    }))
}

async fn try_packet(
    manifest: &Manifest,
    encryption: &Encryption,
    packet: &AnnotationPacket,
    keys: &dyn KeySource,
    policy: &PullPolicy,
) -> Result<Unlocked, ImageError> {
    let mismatch = |why: String| ImageError::KeyMismatch {
        image: manifest.digest.to_string(),
        why,
    };
    let kid = packet.kid();
    check_kid(kid, policy).map_err(mismatch)?;
    check_key_type(kid, policy)?;
    if packet.wrap() == WrapType::A256Ctr && !policy.allow_a256ctr {
        return Err(ImageError::WrapRefused {
            layer: manifest.layer.digest.to_string(),
            wrap: packet.wrap().to_string(),
        });
    }
    let kek = keys
        .key_encryption_key(kid)
        .await
        .map_err(|source| ImageError::Key {
            kid: kid.to_string(),
            source,
        })?;
    let options = unwrap_options(packet, &kek)
        .and_then(|options: PrivateOptions| {
            options.agree_with(encryption.layer.public())?;
            Ok(options)
        })
        .map_err(|error| match error {
            OcicryptError::Malformed { .. } => ImageError::layout(
                format!("layer {}", manifest.layer.digest),
                error.to_string(),
            ),
            error => mismatch(format!("{kid}: {error}; encrypt and push the image again")),
        })?;
    Ok(Unlocked {
        key: LayerKey::new(&options, encryption.layer.public()),
        kid: kid.clone(),
        wrap: packet.wrap(),
    })
}
