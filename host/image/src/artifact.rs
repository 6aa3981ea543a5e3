//! An image in memory: a manifest's bytes and the blobs that it names.

use bytes::Bytes;
use proplet_types::Digest;
use serde::Serialize;

use crate::error::ImageError;
use crate::manifest::{Descriptor, Manifest, layer_digests};
use crate::media;

/// Bytes and their media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Media type, as the manifest will name it.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// An image manifest with its config and its layers. What is encrypted in it stays so.
#[derive(Clone, PartialEq, Eq)]
pub struct Artifact {
    manifest: Bytes,
    config: Bytes,
    layer: Bytes,
    /// Blobs of further layers, which hold no module and belong to the image all the same.
    others: Vec<Bytes>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutManifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: &'a Descriptor,
    layers: [&'a Descriptor; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    layer_digests: [Digest; 1],
}

impl Artifact {
    /// Puts an artifact together from the bytes of a manifest and its blobs.
    ///
    /// # Errors
    /// [`ImageError::Layout`] for a manifest of another form, [`ImageError::DigestMismatch`] when a
    /// blob is not the one that the manifest names.
    pub fn new(manifest: Bytes, config: Bytes, layer: Bytes) -> Result<Self, ImageError> {
        let parsed = Manifest::parse(&manifest)?;
        for (what, descriptor, bytes) in [
            ("config", &parsed.config, &config),
            ("layer", &parsed.layer, &layer),
        ] {
            let actual = Digest::of(bytes);
            if actual != descriptor.digest {
                return Err(ImageError::DigestMismatch {
                    what: format!("{what} {}", descriptor.digest),
                    expected: descriptor.digest.to_string(),
                    actual: actual.to_string(),
                });
            }
        }
        Ok(Self {
            manifest,
            config,
            layer,
            others: Vec::new(),
        })
    }

    /// The same with the blobs of further layers.
    #[must_use]
    pub(crate) fn with_others(self, others: Vec<Bytes>) -> Self {
        Self { others, ..self }
    }

    /// A plain CNCF Wasm OCI artifact: one `application/wasm` layer.
    ///
    /// # Errors
    /// [`ImageError::Layout`] when `wasm` is not a WebAssembly binary.
    pub fn wasm(wasm: Bytes) -> Result<Self, ImageError> {
        if !wasm.starts_with(crate::unpack::WASM_MAGIC) {
            return Err(ImageError::layout(
                "Wasm file",
                "it does not start with the WebAssembly magic; compile text formats first",
            ));
        }
        let digest = Digest::of(&wasm);
        let config = wasm_config(&wasm, digest)?;
        Self::assemble(
            Blob {
                media_type: media::WASM_CONFIG.to_owned(),
                bytes: config,
            },
            Descriptor {
                media_type: media::WASM_LAYER.to_owned(),
                digest,
                size: wasm.len() as u64,
                annotations: Default::default(),
                platform: None,
            },
            wasm,
        )
    }

    /// Writes the manifest for a config and a layer whose descriptor is ready.
    pub(crate) fn assemble(
        config: Blob,
        layer: Descriptor,
        layer_bytes: Bytes,
    ) -> Result<Self, ImageError> {
        let config_descriptor = Descriptor {
            media_type: config.media_type,
            digest: Digest::of(&config.bytes),
            size: config.bytes.len() as u64,
            annotations: Default::default(),
            platform: None,
        };
        let manifest = to_json(&OutManifest {
            schema_version: 2,
            media_type: media::OCI_MANIFEST,
            config: &config_descriptor,
            layers: [&layer],
        })?;
        Ok(Self {
            manifest,
            config: config.bytes,
            layer: layer_bytes,
            others: Vec::new(),
        })
    }

    /// The parsed manifest.
    ///
    /// # Errors
    /// [`ImageError::Layout`]; only for an artifact put together by hand.
    pub fn manifest(&self) -> Result<Manifest, ImageError> {
        Manifest::parse(&self.manifest)
    }

    /// The manifest's bytes.
    pub fn manifest_bytes(&self) -> &Bytes {
        &self.manifest
    }

    /// Digest of the manifest: the image digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The config's bytes.
    pub fn config(&self) -> &Bytes {
        &self.config
    }

    /// The layer's bytes, encrypted or not.
    pub fn layer(&self) -> &Bytes {
        &self.layer
    }

    /// Every blob that the manifest names, layers first.
    ///
    /// # Errors
    /// [`ImageError::Layout`] when one of them is not here.
    pub(crate) fn blobs(&self) -> Result<Vec<&Bytes>, ImageError> {
        let mut blobs = Vec::new();
        for digest in layer_digests(&self.manifest) {
            let known = [&self.layer].into_iter().chain(&self.others);
            let blob = known
                .into_iter()
                .find(|blob| Digest::of(blob).to_string() == digest);
            blobs.push(blob.ok_or_else(|| {
                ImageError::layout(
                    format!("image {}", self.digest()),
                    format!("its layer {digest:?} is not there; copy the whole image"),
                )
            })?);
        }
        blobs.push(&self.config);
        Ok(blobs)
    }
}

/// The config of a CNCF Wasm OCI artifact. It holds no time of its own, so that the same Wasm makes
/// the same image.
fn wasm_config(wasm: &[u8], digest: Digest) -> Result<Bytes, ImageError> {
    // The layer field of the binary format's version: 0 for modules, 1 for components.
    let is_component = wasm.get(6).is_some_and(|layer| *layer == 1);
    to_json(&WasmConfig {
        created: "1970-01-01T00:00:00Z",
        architecture: "wasm",
        os: if is_component { "wasip2" } else { "wasip1" },
        layer_digests: [digest],
    })
}

fn to_json(value: &impl Serialize) -> Result<Bytes, ImageError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|_| ImageError::Internal {
            doing: "writing a manifest",
        })
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("digest", &self.digest())
            .field("layer_bytes", &self.layer.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::LayerForm;

    #[test]
    fn a_wasm_artifact_parses_as_one() {
        let artifact = Artifact::wasm(Bytes::from_static(b"\0asm\x0d\0\x01\0")).unwrap();
        let manifest = artifact.manifest().unwrap();
        assert_eq!(manifest.form, LayerForm::Wasm);
        assert_eq!(manifest.encryption, None);
        assert_eq!(manifest.digest, artifact.digest());
        assert_eq!(manifest.config.media_type, media::WASM_CONFIG);
        let config: serde_json::Value = serde_json::from_slice(artifact.config()).unwrap();
        assert_eq!(config["os"], "wasip2");
        assert_eq!(config["layerDigests"][0], manifest.layer.digest.to_string());
        let module = Artifact::wasm(Bytes::from_static(b"\0asm\x01\0\0\0")).unwrap();
        assert!(
            std::str::from_utf8(module.config())
                .unwrap()
                .contains("wasip1")
        );
    }

    #[test]
    fn text_is_not_wasm() {
        let error = Artifact::wasm(Bytes::from_static(b"(module)")).unwrap_err();
        assert_eq!(error.code(), "image-layout");
    }

    #[test]
    fn blobs_must_be_the_ones_that_are_named() {
        let good = Artifact::wasm(Bytes::from_static(b"\0asm\x01\0\0\0")).unwrap();
        let again = Artifact::new(
            good.manifest_bytes().clone(),
            good.config().clone(),
            good.layer().clone(),
        )
        .unwrap();
        assert_eq!(again, good);
        let other = Bytes::from_static(b"\0asm\x02\0\0\0");
        for (config, layer) in [
            (good.config().clone(), other.clone()),
            (other, good.layer().clone()),
        ] {
            let error = Artifact::new(good.manifest_bytes().clone(), config, layer).unwrap_err();
            assert_eq!(error.code(), "image-digest-mismatch");
        }
    }
}
