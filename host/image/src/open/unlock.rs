//! Choosing a layer's key among the packets that hold it.

use proplet_types::ResourceUri;
use zeroize::Zeroizing;

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

/// Opens one key packet: gives the private options of the layer that it belongs to.
///
/// The policy decides about the packet as it does in a pull, before the key is asked for. What the layer's other
/// annotations say is for whoever has the layer to check.
///
/// # Errors
/// As a pull, with the packet's key id where a pull names the image.
pub async fn unwrap_packet(
    packet: &AnnotationPacket,
    keys: &dyn KeySource,
    policy: &PullPolicy,
) -> Result<PrivateOptions, ImageError> {
    let kid = packet.kid();
    let kek = released(packet, &kid.to_string(), &kid.to_string(), keys, policy).await?;
    unwrap_options(packet, &kek).map_err(|error| ImageError::KeyMismatch {
        image: kid.to_string(),
        why: format!("{error}; encrypt the image again"),
    })
}

/// The key-encryption key of a packet that the policy allows.
async fn released(
    packet: &AnnotationPacket,
    image: &str,
    layer: &str,
    keys: &dyn KeySource,
    policy: &PullPolicy,
) -> Result<Zeroizing<Vec<u8>>, ImageError> {
    let kid = packet.kid();
    check_kid(kid, policy).map_err(|why| ImageError::KeyMismatch {
        image: image.to_owned(),
        why,
    })?;
    check_key_type(kid, policy)?;
    if packet.wrap() == WrapType::A256Ctr && !policy.allow_a256ctr {
        return Err(ImageError::WrapRefused {
            layer: layer.to_owned(),
            wrap: packet.wrap().to_string(),
        });
    }
    keys.key_encryption_key(kid)
        .await
        .map_err(|source| ImageError::Key {
            kid: kid.to_string(),
            source,
        })
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
    let (image, layer) = (&manifest.digest, &manifest.layer.digest);
    let kek = released(packet, &image.to_string(), &layer.to_string(), keys, policy).await?;
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
