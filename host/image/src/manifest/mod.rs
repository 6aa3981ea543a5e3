//! Image manifests: parsing, and choosing the one Wasm manifest of an index.
//!
//! A manifest comes from the registry, which is not trusted. Its digest decides which bytes are
//! parsed, so by the time this module sees them they are the bytes that were asked for; what is used of
//! them is parsed strictly all the same, because a tag pins nothing. What is not used (annotations of
//! others, platforms of siblings, digests of kinds that nobody asks for) may be anything that the image
//! specification or a registry's tool came up with.

mod descriptor;
mod index;
mod layer;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proplet_types::{Digest, ResourceUri};
use serde::Deserialize;

pub use self::descriptor::{Descriptor, Platform};
use self::descriptor::{Entry, RawDescriptor};
use self::index::choose;
use self::layer::choose_layer;
use crate::error::ImageError;
use crate::media::{self, LayerForm};
use crate::ocicrypt::{LayerEncryption, WrapType};
use crate::reference::ImageReference;

/// The largest manifest or index that is read, in bytes: what registries themselves accept.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// The largest config blob that is read, in bytes. Its digest is checked, its content is not used.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// A fetched image manifest whose digest was checked and whose one layer is of a known form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The reference that it was resolved from; absent when it came from a folder.
    pub reference: Option<ImageReference>,
    /// Digest of the image manifest itself: the image digest of claims and receipts.
    pub digest: Digest,
    /// Digest of the index that named it, when the reference led to an index.
    pub index_digest: Option<Digest>,
    /// The config blob.
    pub config: Descriptor,
    /// The config itself, when the manifest carries it (`data` of its descriptor). It has the size and
    /// the digest of the descriptor.
    pub config_data: Option<Bytes>,
    /// The one layer that holds the module.
    pub layer: Descriptor,
    /// How the Wasm lies in the layer once it is decrypted.
    pub form: LayerForm,
    /// How the layer is encrypted; absent for a plain image.
    pub encryption: Option<Encryption>,
}

/// What the manifest says about the encryption of its layer, before any key is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Id of the key-encryption key, of the first usable key packet.
    pub kid: ResourceUri,
    /// How that packet's key is wrapped.
    pub wrap: WrapType,
    /// Everything that the annotations said.
    pub layer: LayerEncryption,
}

/// A manifest's or an index's bytes, told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// An image manifest.
    Image(Box<Manifest>),
    /// An index, and the entry of it that is a Wasm image.
    Index(Descriptor),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<Entry>>,
    manifests: Option<Vec<Entry>>,
}

impl Manifest {
    /// Parses the bytes of an image manifest, whose digest is computed here.
    ///
    /// # Errors
    /// [`ImageError::Layout`] when it is not an image manifest with one layer of a known form, or
    /// when its encryption annotations are malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        match parse(bytes)? {
            Parsed::Image(manifest) => Ok(*manifest),
            Parsed::Index(_) => Err(ImageError::layout(
                "manifest",
                "it is an image index where an image manifest is needed",
            )),
        }
    }
}

/// The digests of all layers of an image manifest, whatever is in them and whatever they look like.
pub(crate) fn layer_digests(manifest: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Layers {
        layers: Vec<Layer>,
    }
    #[derive(Deserialize)]
    struct Layer {
        digest: String,
    }
    let layers = serde_json::from_slice(manifest).map(|layers: Layers| layers.layers);
    let layers = layers.unwrap_or_default();
    layers.into_iter().map(|layer| layer.digest).collect()
}

/// Parses a manifest or an index.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, ImageError> {
    let digest = Digest::of(bytes);
    let what = || format!("manifest {digest}");
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Err(ImageError::layout(
            what(),
            "it is a web page; check the registry's address, and whether a proxy or a login page \
             answers in its place",
        ));
    }
    let raw: Raw = serde_json::from_slice(bytes)
        .map_err(|e| ImageError::layout(what(), format!("it is not a manifest: {e}")))?;
    if raw.schema_version != 2 {
        return Err(ImageError::layout(
            what(),
            format!("schema version {} is not 2", raw.schema_version),
        ));
    }
    // A document that could be read as either kind is how one digest comes to mean two images
    // (CVE-2021-41190): refuse it.
    match (raw.config, raw.layers, raw.manifests) {
        (Some(config), Some(layers), None) => {
            expect_media_type(&what, raw.media_type.as_deref(), media::IMAGE_MANIFESTS)?;
            image(digest, config, layers).map(|m| Parsed::Image(Box::new(m)))
        }
        (None, None, Some(manifests)) => {
            expect_media_type(&what, raw.media_type.as_deref(), media::IMAGE_INDEXES)?;
            choose(&what(), manifests).map(Parsed::Index)
        }
        _ => Err(ImageError::layout(
            what(),
            "it is neither an image manifest (config and layers) nor an index (manifests)",
        )),
    }
}

fn expect_media_type(
    what: &dyn Fn() -> String,
    given: Option<&str>,
    known: &[&str],
) -> Result<(), ImageError> {
    match given.filter(|given| !given.is_empty()) {
        Some(given) if !known.contains(&given) => Err(ImageError::layout(
            what(),
            format!(
                "its media type {given:?} is not one of {}",
                known.join(", ")
            ),
        )),
        _ => Ok(()),
    }
}

fn image(
    digest: Digest,
    mut config: RawDescriptor,
    layers: Vec<Entry>,
) -> Result<Manifest, ImageError> {
    let what = format!("manifest {digest}");
    let data = config.data.take();
    // Annotations of the config say nothing to us.
    config.annotations = None;
    let config = config
        .used()
        .map_err(|why| ImageError::layout(&what, format!("config: {why}")))?;
    let config_data = data.map(|data| carried(&config, &data)).transpose()?;
    let layer = choose_layer(layers)
        .and_then(RawDescriptor::used)
        .map_err(|why| ImageError::layout(&what, why))?;
    let (plain_type, suffixed) = media::split_encrypted(&layer.media_type);
    let form = LayerForm::of(plain_type).map_err(|why| ImageError::layout(&what, why))?;
    let encryption = LayerEncryption::from_annotations(&layer.annotations)
        .map_err(|why| ImageError::layout(format!("layer {}", layer.digest), why.to_string()))?;
    let encryption = match (suffixed, encryption) {
        (true, Some(layer)) => {
            let packet = layer.preferred();
            Some(Encryption {
                kid: packet.kid().clone(),
                wrap: packet.wrap(),
                layer,
            })
        }
        (false, None) => None,
        (true, None) => {
            return Err(ImageError::layout(
                format!("layer {}", layer.digest),
                "its media type says encrypted and no org.opencontainers.image.enc annotation says \
                 how; encrypt and push the image again",
            ));
        }
        (false, Some(_)) => {
            return Err(ImageError::layout(
                format!("layer {}", layer.digest),
                "it has encryption annotations and a media type without +encrypted; encrypt and \
                 push the image again",
            ));
        }
    };
    Ok(Manifest {
        reference: None,
        digest,
        index_digest: None,
        config,
        config_data,
        layer,
        form,
        encryption,
    })
}

/// The content that a descriptor carries, which must be the one that it describes.
fn carried(descriptor: &Descriptor, data: &str) -> Result<Bytes, ImageError> {
    let what = format!("config {}, as the manifest carries it", descriptor.digest);
    let bytes = STANDARD
        .decode(data)
        .map_err(|_| ImageError::layout(&what, "its data is not base64"))?;
    let actual = Digest::of(&bytes);
    if actual != descriptor.digest || bytes.len() as u64 != descriptor.size {
        return Err(ImageError::DigestMismatch {
            what,
            expected: descriptor.digest.to_string(),
            actual: actual.to_string(),
        });
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests;
