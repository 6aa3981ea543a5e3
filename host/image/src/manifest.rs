//! Image manifests: parsing, and choosing the one Wasm manifest of an index.
//!
//! A manifest comes from the registry, which is not trusted. Its digest decides which bytes are
//! parsed, so by the time this module sees them they are the bytes that were asked for; parsing is
//! strict all the same, because a tag pins nothing.

use std::collections::BTreeMap;

use proplet_kbs::ResourceUri;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::ImageError;
use crate::media::{self, LayerForm};
use crate::ocicrypt::{LayerEncryption, WrapType};
use crate::reference::ImageReference;

/// The largest manifest or index that is read, in bytes: what registries themselves accept.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// The largest config blob that is read, in bytes. Its digest is checked, its content is not used.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// A content descriptor: what a manifest says about a blob (OCI image specification, descriptor).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the blob.
    pub media_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes. Not authenticated by itself: only the manifest's digest covers it.
    pub size: u64,
    /// Annotations; OCIcrypt keeps its options here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Platform, in the entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Platform of an index entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Architecture, `wasm` for our images.
    pub architecture: String,
    /// Operating system, `wasip2`, `wasip1` or `wasi` for our images.
    pub os: String,
}

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
    /// The one layer.
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
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
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

/// Parses a manifest or an index.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, ImageError> {
    let digest = Digest::of(bytes);
    let what = || format!("manifest {digest}");
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
    match given {
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
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Result<Manifest, ImageError> {
    let what = format!("manifest {digest}");
    let count = layers.len();
    let Ok([layer]) = <[Descriptor; 1]>::try_from(layers) else {
        return Err(ImageError::layout(
            what,
            format!("it has {count} layers; a Wasm image has one"),
        ));
    };
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
        layer,
        form,
        encryption,
    })
}

/// The entry of an index that is a Wasm image. Several platforms may be there, so WASI 0.2 comes
/// before WASI 0.1; two entries for the same platform leave a choice open that nobody made.
fn choose(what: &str, manifests: Vec<Descriptor>) -> Result<Descriptor, ImageError> {
    const ORDER: [&str; 5] = ["wasip2", "wasi", "wasip1", "wasi0.2", "wasi0.1"];
    let is_wasm = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|p| matches!(p.architecture.as_str(), "wasm" | "wasm32"))
    };
    for os in ORDER {
        let mut found = manifests
            .iter()
            .filter(is_wasm)
            .filter(|entry| entry.platform.as_ref().is_some_and(|p| p.os == os));
        match (found.next(), found.next()) {
            (Some(entry), None) => return Ok(entry.clone()),
            (Some(_), Some(_)) => {
                return Err(ImageError::layout(
                    what,
                    format!("the index has several wasm/{os} entries; pin one by its digest"),
                ));
            }
            (None, _) => {}
        }
    }
    // Tools that index a single artifact leave the platform out.
    if let [only] = manifests.as_slice()
        && only.platform.is_none()
    {
        return Ok(only.clone());
    }
    let offered: Vec<String> = manifests
        .iter()
        .take(16)
        .map(|entry| match &entry.platform {
            Some(p) => format!("{}/{}", p.os, p.architecture),
            None => "no platform".to_owned(),
        })
        .collect();
    Err(ImageError::layout(
        what,
        format!(
            "the index has no wasm entry, only: {}; push a Wasm image",
            offered.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1})
    }

    fn entry(os: &str, architecture: &str, content: &str) -> Value {
        json!({
            "mediaType": media::OCI_MANIFEST,
            "digest": Digest::of(content.as_bytes()),
            "size": 1,
            "platform": {"os": os, "architecture": architecture},
        })
    }

    fn image_with(layers: Vec<Value>) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": descriptor(media::WASM_CONFIG),
            "layers": layers,
        })
    }

    fn index_with(manifests: Vec<Value>) -> Value {
        json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests})
    }

    fn parsed(value: &Value) -> Result<Parsed, ImageError> {
        parse(value.to_string().as_bytes())
    }

    fn refusal(value: &Value) -> String {
        let error = parsed(value).unwrap_err();
        assert_eq!(error.code(), "image-layout");
        error.to_string()
    }

    #[test]
    fn plain_images_parse() {
        let bytes = image_with(vec![descriptor(media::WASM_LAYER)]).to_string();
        let manifest = Manifest::parse(bytes.as_bytes()).unwrap();
        assert_eq!(manifest.digest, Digest::of(bytes.as_bytes()));
        assert_eq!(manifest.form, LayerForm::Wasm);
        assert_eq!(manifest.encryption, None);
    }

    #[test]
    fn unknown_forms_are_refused_with_reasons() {
        let layer = || descriptor(media::WASM_LAYER);
        assert!(refusal(&image_with(vec![])).contains("0 layers"));
        assert!(refusal(&image_with(vec![layer(), layer()])).contains("2 layers"));
        assert!(refusal(&image_with(vec![descriptor("text/plain")])).contains("text/plain"));
        assert!(
            refusal(&image_with(vec![descriptor("application/wasm+encrypted")]))
                .contains("no org.opencontainers.image.enc annotation")
        );
        let mut annotated = layer();
        annotated["annotations"] = json!({"org.opencontainers.image.enc.pubopts": "x"});
        assert!(refusal(&image_with(vec![annotated])).contains("pubopts"));
        let mut both = image_with(vec![layer()]);
        both["manifests"] = json!([]);
        assert!(refusal(&both).contains("neither"));
        let mut version = image_with(vec![layer()]);
        version["schemaVersion"] = json!(1);
        assert!(refusal(&version).contains("schema version 1"));
        let mut other = image_with(vec![layer()]);
        other["mediaType"] = json!(media::OCI_INDEX);
        assert!(refusal(&other).contains("media type"));
        assert!(refusal(&json!([])).contains("not a manifest"));
    }

    #[test]
    fn annotations_without_the_suffix_are_refused() {
        let kid = "kbs:///default/key/1".parse().unwrap();
        let encrypted =
            crate::encrypt::encrypt_layer(b"x", &[1; 32], &kid, media::WASM_LAYER).unwrap();
        let mut layer = serde_json::to_value(&encrypted.descriptor).unwrap();
        let manifest = image_with(vec![layer.clone()]).to_string();
        let encryption = Manifest::parse(manifest.as_bytes())
            .unwrap()
            .encryption
            .unwrap();
        assert_eq!(encryption.kid, kid);
        assert_eq!(encryption.wrap, WrapType::A256Gcm);
        layer["mediaType"] = json!(media::WASM_LAYER);
        assert!(refusal(&image_with(vec![layer])).contains("without +encrypted"));
    }

    #[test]
    fn indexes_lead_to_their_wasm_entry() {
        let chosen = |manifests: Vec<Value>| match parsed(&index_with(manifests)).unwrap() {
            Parsed::Index(entry) => entry.digest,
            Parsed::Image(_) => panic!("an image"),
        };
        let linux = entry("linux", "amd64", "l");
        let p1 = entry("wasip1", "wasm", "1");
        let p2 = entry("wasip2", "wasm", "2");
        assert_eq!(
            chosen(vec![linux.clone(), p1.clone(), p2]),
            Digest::of(b"2")
        );
        assert_eq!(chosen(vec![linux, p1]), Digest::of(b"1"));
        assert_eq!(
            chosen(vec![descriptor(media::OCI_MANIFEST)]),
            Digest::of(b"x")
        );
    }

    #[test]
    fn indexes_without_one_wasm_entry_are_refused() {
        let linux = entry("linux", "amd64", "l");
        assert!(refusal(&index_with(vec![linux.clone()])).contains("linux/amd64"));
        assert!(refusal(&index_with(vec![])).contains("no wasm entry"));
        let p1 = entry("wasip1", "wasm", "1");
        assert!(refusal(&index_with(vec![p1.clone(), p1])).contains("several"));
        let index = index_with(vec![entry("wasip2", "wasm", "2")]).to_string();
        assert!(
            Manifest::parse(index.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("index")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_damage_is_survived(at: prop::sample::Index, with: u8) {
            let mut bytes = image_with(vec![descriptor(media::WASM_LAYER)]).to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = parse(&bytes);
        }
    }
}
