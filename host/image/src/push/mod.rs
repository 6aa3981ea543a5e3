//! Pushing images to a registry. For owners and build machines; the host itself never pushes.
//!
//! Small on purpose (OCI distribution specification 1.1, section "Push"): every blob goes in one
//! piece, by POST and one PUT, which every registry has to offer; uploads in parts are optional there
//! and go wrong in many ways. Nothing is taken for stored because the registry said so: blobs are
//! asked for again, and the manifest is read back, by digest and by tag, and compared.
//!
//! The registry is trusted with the credentials for it and with nothing else. Its token service is
//! held to the same rules as for pulls (TLS, or a host that the caller listed), and an address for an
//! upload that is not the registry's own is not shown who we are.

mod progress;
mod refused;
mod session;
mod upload;

use bytes::Bytes;
use proplet_types::Digest;
use serde::Deserialize;

pub use self::progress::{Progress, Watcher};
use self::session::Session;
use crate::artifact::Artifact;
use crate::error::ImageError;
use crate::media;
use crate::reference::ImageReference;
use crate::registry::RegistryConfig;

/// Pushes an image and gives the digest of its manifest, which is what to put into tasks. With a tag
/// in the reference it gets that tag, else it is known by its digest alone. Blobs that the registry
/// has already are not sent again.
///
/// # Errors
/// [`ImageError::Reference`] for a reference with a digest that is not the image's,
/// [`ImageError::Unauthorized`], [`ImageError::Unavailable`], [`ImageError::Settings`], and
/// [`ImageError::DigestMismatch`] when the registry gives back another manifest than it was sent.
pub async fn push(
    config: &RegistryConfig,
    reference: &ImageReference,
    artifact: &Artifact,
) -> Result<Digest, ImageError> {
    push_watched(config, reference, artifact, &mut |_| {}).await
}

/// As [`push`], telling `watcher` how far it is.
///
/// # Errors
/// As [`push`].
pub async fn push_watched(
    config: &RegistryConfig,
    reference: &ImageReference,
    artifact: &Artifact,
    watcher: Watcher<'_>,
) -> Result<Digest, ImageError> {
    let digest = artifact.digest();
    if let Some(pinned) = reference.digest()
        && pinned != digest
    {
        return Err(ImageError::Reference {
            text: reference.to_string(),
            why: format!("the image to push has the digest {digest}"),
        });
    }
    let session = Session::new(config, reference)?;
    for bytes in artifact.blobs()? {
        session.put_blob(bytes, watcher).await?;
    }
    let media_type = media_type(artifact.manifest_bytes());
    session
        .put_manifest(artifact.manifest_bytes(), media_type)
        .await?;
    Ok(digest)
}

/// The media type that a manifest is to be stored under: its own.
fn media_type(manifest: &Bytes) -> &'static str {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let own = serde_json::from_slice(manifest)
        .ok()
        .and_then(|typed: Typed| typed.media_type);
    media::IMAGE_MANIFESTS
        .iter()
        .find(|known| Some(**known) == own.as_deref())
        .unwrap_or(&media::OCI_MANIFEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_stored_under_its_own_media_type() {
        for (json, media_type) in [
            ("{}", media::OCI_MANIFEST),
            (r#"{"mediaType":null}"#, media::OCI_MANIFEST),
            (
                r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#,
                media::OCI_MANIFEST,
            ),
            (
                r#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}"#,
                media::DOCKER_MANIFEST,
            ),
        ] {
            assert_eq!(super::media_type(&Bytes::from(json)), media_type, "{json}");
        }
    }

    #[tokio::test]
    async fn a_bad_ca_is_a_settings_error() {
        let config = RegistryConfig {
            ca_pem: Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
            ..RegistryConfig::default()
        };
        let artifact = Artifact::wasm(Bytes::from_static(b"\0asm\x01\0\0\0")).unwrap();
        let reference = "registry.example/a:b".parse().unwrap();
        let error = push(&config, &reference, &artifact).await.unwrap_err();
        assert_eq!(error.code(), "image-settings");
    }
}
