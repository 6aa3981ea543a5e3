//! From a manifest to Wasm: choosing the key, checking what was asked for, unpacking.

use proplet_component::{Component, Hashed};
use proplet_types::{Digest, ImageKeyTypes, KbsHost, ResourceUri};

use crate::artifact::Artifact;
use crate::error::ImageError;
use crate::keys::KeySource;
use crate::layer::{self, LayerKey};
use crate::manifest::{Encryption, Manifest};
use crate::ocicrypt::{AnnotationPacket, OcicryptError, PrivateOptions, WrapType, unwrap_options};
use crate::unpack::{self, GivenUp};

/// What a pull of an encrypted image may rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullPolicy {
    /// Whether a key wrapped with A256CTR is used. Such a key was not authenticated, so anybody who
    /// can change the image chose the key: a policy in the component must not count
    /// ([`Wasm::wrap`]).
    pub allow_a256ctr: bool,
    /// The path that the image's key id must have, for instance `default/key/hello` (a task's
    /// `kbs_resource_path`). A leading `/` or `kbs:///` is accepted.
    pub expected_kid_path: Option<String>,
    /// Which KBS a key id may name. One that names none always means the one that is asked.
    pub kbs: NamedKbs,
    /// Types that the key's resource may have; none allows all, which is for those who hold the key in
    /// their hands. A key of another type is refused before it is asked for: it is a secret, and others
    /// than the image's owner may know it.
    pub key_types: Option<ImageKeyTypes>,
}

impl Default for PullPolicy {
    fn default() -> Self {
        Self {
            allow_a256ctr: false,
            expected_kid_path: None,
            kbs: NamedKbs::default(),
            key_types: Some(ImageKeyTypes::default()),
        }
    }
}

/// Which KBS the key id of an image may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NamedKbs {
    /// None: no KBS is configured.
    #[default]
    Unconfigured,
    /// The configured one.
    Configured(KbsHost),
    /// Any: the key is at hand, and no KBS is asked.
    Any,
}

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

/// A layer's key and which packet it came from.
pub(crate) struct Unlocked {
    pub(crate) key: LayerKey,
    pub(crate) kid: ResourceUri,
    pub(crate) wrap: WrapType,
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
        &GivenUp::default(),
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
    finish(&manifest, opened, None, max_bytes, &GivenUp::default())
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

/// Refuses a key of another KBS, and another key than the task expects, before any key is asked for.
fn check_kid(kid: &ResourceUri, policy: &PullPolicy) -> Result<(), String> {
    let is_ours = match &policy.kbs {
        NamedKbs::Unconfigured => kid.host().is_none(),
        NamedKbs::Configured(host) => host.is_meant_by(kid),
        NamedKbs::Any => true,
    };
    if !is_ours {
        return Err(format!(
            "its key id {kid} names the key broker {:?}, and only the configured one is asked; \
             encrypt with a key id without host, kbs:///{}",
            kid.host().unwrap_or_default(),
            kid.path()
        ));
    }
    if let Some(expected) = policy.expected_kid_path.as_deref() {
        let path = expected.strip_prefix("kbs://").unwrap_or(expected);
        let path = path.strip_prefix('/').unwrap_or(path);
        if path != kid.path() {
            let shown: String = expected.chars().take(128).collect();
            return Err(format!(
                "the task expects {shown:?} (kbs_resource_path) and the image names {:?}; start \
                 the task with the right path or the right image",
                kid.path()
            ));
        }
    }
    Ok(())
}

/// Refuses a resource that is not kept for images.
fn check_key_type(kid: &ResourceUri, policy: &PullPolicy) -> Result<(), ImageError> {
    match &policy.key_types {
        Some(types) if !types.may_decrypt(kid) => Err(ImageError::KeyTypeRefused {
            kid: kid.to_string(),
            types: types.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Unpacks a verified layer and names what came out.
pub(crate) fn finish(
    manifest: &Manifest,
    opened: Hashed,
    unlocked: Option<Unlocked>,
    max_bytes: u64,
    given_up: &GivenUp,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kid(text: &str) -> ResourceUri {
        text.parse().unwrap()
    }

    #[test]
    fn keys_of_another_broker_are_refused() {
        let mut policy = PullPolicy::default();
        check_kid(&kid("kbs:///default/key/1"), &policy).unwrap();
        let error = check_kid(&kid("kbs://kbs.example/default/key/1"), &policy).unwrap_err();
        assert!(error.contains("kbs.example"));
        policy.kbs = NamedKbs::Configured(KbsHost::new("KBS.example", 8080));
        check_kid(&kid("kbs://kbs.example/default/key/1"), &policy).unwrap();
        check_kid(&kid("kbs:///default/key/1"), &policy).unwrap();
        check_kid(&kid("kbs://kbs.example:8080/default/key/1"), &policy).unwrap();
        check_kid(&kid("kbs://kbs.example:8081/default/key/1"), &policy).unwrap_err();
        check_kid(&kid("kbs://other.example/default/key/1"), &policy).unwrap_err();
        policy.kbs = NamedKbs::Any;
        check_kid(&kid("kbs://other.example/default/key/1"), &policy).unwrap();
    }

    #[test]
    fn a_secret_is_no_image_key() {
        let mut policy = PullPolicy::default();
        check_key_type(&kid("kbs:///default/key/1"), &policy).unwrap();
        for secret in [
            "kbs:///default/data/1",
            "kbs:///key/data/key",
            "kbs:///default/KEY/1",
        ] {
            let error = check_key_type(&kid(secret), &policy).unwrap_err();
            assert_eq!(error.code(), "image-key-type");
            assert!(error.to_string().contains("of type `key`"), "{error}");
        }
        policy.key_types = ImageKeyTypes::new(["data".to_owned()]).ok();
        check_key_type(&kid("kbs:///default/data/1"), &policy).unwrap();
        check_key_type(&kid("kbs:///default/key/1"), &policy).unwrap_err();
        policy.key_types = None;
        check_key_type(&kid("kbs:///default/any/1"), &policy).unwrap();
    }

    #[test]
    fn the_expected_path_must_be_the_images() {
        let check = |expected: &str| {
            let policy = PullPolicy {
                expected_kid_path: Some(expected.to_owned()),
                ..PullPolicy::default()
            };
            check_kid(&kid("kbs:///default/key/1"), &policy)
        };
        for good in ["default/key/1", "/default/key/1", "kbs:///default/key/1"] {
            check(good).unwrap();
        }
        for bad in [
            "default/key/2",
            "",
            "default/key/1/",
            "kbs://kbs:///default/key/1",
        ] {
            assert!(
                check(bad).unwrap_err().contains("kbs_resource_path"),
                "{bad}"
            );
        }
    }
}
