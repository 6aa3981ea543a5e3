//! From a manifest to Wasm: choosing the key, checking what was asked for, unpacking.

mod policy;
mod unlock;

use proplet_component::{Component, Hashed};
use proplet_types::{Digest, ResourceUri};

pub use self::policy::{NamedKbs, PullPolicy};
pub use self::unlock::unwrap_packet;
pub(crate) use self::unlock::{Unlocked, unlock};
use crate::artifact::Artifact;
use crate::error::ImageError;
use crate::keys::KeySource;
use crate::layer;
use crate::manifest::{Encryption, Manifest};
use crate::ocicrypt::WrapType;
use crate::unpack::{self, Abandoned};

/// Verified Wasm and where it came from.
#[derive(Debug)]
pub struct Wasm {
    /// The component or module.
    pub component: Component,
    /// Digest of the image manifest.
    pub image_digest: Digest,
    /// Id of the key that opened it; absent for a plain image.
    pub key_id: Option<ResourceUri>,
    /// How that key was wrapped; absent for a plain image. Only [`WrapType::A256Gcm`] shows that the
    /// owner of the key made this image.
    pub wrap: Option<WrapType>,
}

/// Opens an encrypted image that is in memory, for instance read from a folder.
///
/// Blocks for as long as the decryption takes, so it belongs on a thread that may block.
///
/// # Errors
/// As a pull: [`ImageError::NotEncrypted`] for a plain image, and whatever does not match.
pub async fn open_encrypted(
    artifact: &Artifact,
    keys: &dyn KeySource,
    policy: &PullPolicy,
    max_bytes: u64,
) -> Result<Wasm, ImageError> {
    let manifest = artifact.manifest()?;
    let encryption = expect_encrypted(&manifest)?;
    let unlocked = unlock(&manifest, encryption, keys, policy).await?;
    let bytes = artifact.layer().clone();
    let opened = layer::open_in_memory(bytes, &manifest.layer, Some(&unlocked.key), max_bytes)?;
    finish(
        &manifest,
        opened,
        Some(unlocked),
        max_bytes,
        &Abandoned::default(),
    )
}

/// Opens a plain image that is in memory.
///
/// # Errors
/// As a pull: [`ImageError::Encrypted`] for an encrypted image, and whatever does not match.
pub fn open_plain(artifact: &Artifact, max_bytes: u64) -> Result<Wasm, ImageError> {
    let manifest = artifact.manifest()?;
    expect_plain(&manifest)?;
    let bytes = artifact.layer().clone();
    let opened = layer::open_in_memory(bytes, &manifest.layer, None, max_bytes)?;
    finish(&manifest, opened, None, max_bytes, &Abandoned::default())
}

pub(crate) fn expect_encrypted(manifest: &Manifest) -> Result<&Encryption, ImageError> {
    manifest
        .encryption
        .as_ref()
        .ok_or_else(|| ImageError::NotEncrypted {
            image: manifest.digest.to_string(),
        })
}

pub(crate) fn expect_plain(manifest: &Manifest) -> Result<(), ImageError> {
    match manifest.encryption {
        None => Ok(()),
        Some(_) => Err(ImageError::Encrypted {
            image: manifest.digest.to_string(),
        }),
    }
}

/// Unpacks a verified layer and names what came out.
pub(crate) fn finish(
    manifest: &Manifest,
    opened: Hashed,
    unlocked: Option<Unlocked>,
    max_bytes: u64,
    given_up: &Abandoned,
) -> Result<Wasm, ImageError> {
    let what = format!("layer {}", manifest.layer.digest);
    let unpacked = unpack::wasm(manifest.form, opened, &what, max_bytes, given_up)?;
    let (key_id, wrap) = match unlocked {
        Some(unlocked) => (Some(unlocked.kid), Some(unlocked.wrap)),
        None => (None, None),
    };
    Ok(Wasm {
        component: Component::new(unpacked),
        image_digest: manifest.digest,
        key_id,
        wrap,
    })
}
