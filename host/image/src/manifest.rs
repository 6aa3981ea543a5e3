//! Image manifests: parsing, and choosing the one Wasm manifest of an index.
//!
//! A manifest comes from the registry, which is not trusted. Its digest decides which bytes are
//! parsed, so by the time this module sees them they are the bytes that were asked for; what is used of
//! them is parsed strictly all the same, because a tag pins nothing. What is not used (annotations of
//! others, platforms of siblings, digests of kinds that nobody asks for) may be anything that the image
//! specification or a registry's tool came up with.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proplet_types::{Digest, ResourceUri};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Platform, in the entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Platform of an index entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Architecture, `wasm` for our images. Empty when it is not said.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// Operating system, `wasip2`, `wasip1` or `wasi` for our images. Empty when it is not said.
    #[serde(default, deserialize_with = "null_default")]
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

/// A descriptor of which it is not known yet whether it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: Option<String>,
    size: Option<u64>,
    annotations: Option<Value>,
    platform: Option<Platform>,
    data: Option<String>,
}

/// An element of a list. One that is no descriptor is passed over as long as another one is meant.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Read(Box<RawDescriptor>),
    Unread(IgnoredAny),
}

impl Entry {
    fn read(self) -> Option<RawDescriptor> {
        match self {
            Self::Read(descriptor) => Some(*descriptor),
            Self::Unread(_) => None,
        }
    }
}

/// Null is what some programs write for nothing.
fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl RawDescriptor {
    /// The descriptor, now that it is used.
    fn used(self) -> Result<Descriptor, String> {
        let digest = self.digest.unwrap_or_default();
        let shown: String = digest.chars().take(80).collect();
        let annotations = match self.annotations {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(annotations) => serde_json::from_value(annotations)
                .map_err(|_| "its annotations are not texts by name".to_owned())?,
        };
        Ok(Descriptor {
            media_type: self.media_type.unwrap_or_default(),
            digest: digest.parse().map_err(|_| {
                format!("its digest {shown:?} is not sha256: and 64 lower-case hex digits")
            })?,
            size: self.size.ok_or("it has no size")?,
            annotations,
            platform: self.platform,
        })
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name)?.as_str()
    }

    /// Operating system and architecture, each empty when it is not said.
    fn platform(&self) -> (&str, &str) {
        self.platform
            .as_ref()
            .map_or(("", ""), |p| (p.os.as_str(), p.architecture.as_str()))
    }

    fn plain_media_type(&self) -> &str {
        media::split_encrypted(self.media_type.as_deref().unwrap_or_default()).0
    }

    /// Whether there can be no archive with a file in this layer: what build tools write for steps that
    /// change none. It could still be a tiny module that only bears the media type of an archive.
    fn is_empty_layer(&self) -> bool {
        media::is_tar(self.plain_media_type())
            && (self.size.is_some_and(|size| size <= MAX_EMPTY_LAYER_BYTES)
                || matches!(self.digest.as_deref(), Some(EMPTY_TAR | EMPTY_TAR_RECORD)))
    }
}

/// No compressed archive with a file in it is this small.
const MAX_EMPTY_LAYER_BYTES: u64 = 64;
/// An archive that is two blocks of zeros, its end.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
/// The same, filled up to a record of twenty blocks.
const EMPTY_TAR_RECORD: &str =
    "sha256:84ff92691f909a05b224e1c56abb4864f01b4f8e3c854e4bb4c7baf1d3f6d652";
/// The name of a layer's file, for tools that push single files.
const TITLE: &str = "org.opencontainers.image.title";
/// What an entry is that describes another one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

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

/// The one layer that can hold the module. Layers without files and layers of other kinds (texts, lists
/// of parts, signatures) are passed over; several that could be meant are refused.
fn choose_layer(layers: Vec<Entry>) -> Result<RawDescriptor, String> {
    let mut wasm = Vec::new();
    let mut archives = Vec::new();
    let mut empty = Vec::new();
    let mut other = None;
    for layer in layers.into_iter().filter_map(Entry::read) {
        match LayerForm::of(layer.plain_media_type()) {
            _ if layer.is_empty_layer() => empty.push(layer),
            Ok(LayerForm::Wasm) => wasm.push(layer),
            Ok(LayerForm::Archive) => archives.push(layer),
            Err(_) if layer.plain_media_type() == media::EMPTY => {}
            Err(why) => other = other.or(Some(why)),
        }
    }
    let mut candidates = [wasm, archives, empty]
        .into_iter()
        .find(|candidates| !candidates.is_empty())
        .unwrap_or_default();
    let count = candidates.len();
    if count > 1 {
        let titled = |layer: &RawDescriptor| {
            let title = layer.annotation(TITLE);
            title.is_some_and(|title| title.ends_with(".wasm"))
        };
        if candidates.iter().filter(|layer| titled(layer)).count() == 1 {
            candidates.retain(titled);
        }
    }
    match (candidates.pop(), candidates.is_empty(), other) {
        (Some(only), true, _) => Ok(only),
        (None, _, Some(why)) => Err(why),
        _ => Err(format!(
            "it has {count} layers that could hold the module; a Wasm image has one, so put the \
             module and what it needs into one layer"
        )),
    }
}

/// The entry of an index that is a Wasm image, or an index that has one. Several platforms may be
/// there, so WASI 0.2 comes before WASI 0.1; two entries for the same platform leave a choice open that
/// nobody made.
fn choose(what: &str, manifests: Vec<Entry>) -> Result<Descriptor, ImageError> {
    const ORDER: [&str; 5] = ["wasip2", "wasi", "wasip1", "wasi0.2", "wasi0.1"];
    let mut entries: Vec<RawDescriptor> = manifests
        .into_iter()
        .filter_map(Entry::read)
        // Statements of build tools about their entries.
        .filter(|entry| {
            let (os, architecture) = entry.platform();
            (os, architecture) != ("unknown", "unknown")
                && entry.annotation(REFERENCE_TYPE).is_none()
        })
        .collect();
    let wasm = |entry: &RawDescriptor| matches!(entry.platform().1, "wasm" | "wasm32");
    let use_at = |entries: &mut Vec<RawDescriptor>, at: usize| {
        entries.swap_remove(at).used().map_err(|why| {
            ImageError::layout(what, format!("the entry of the index that is meant: {why}"))
        })
    };
    let several = |platform: &str| {
        ImageError::layout(
            what,
            format!("the index has several {platform} entries; pin one by its digest"),
        )
    };
    for os in ORDER {
        let mut found = (0..entries.len()).filter(|at| {
            let entry = entries.get(*at);
            entry.is_some_and(|entry| wasm(entry) && entry.platform().0 == os)
        });
        match (found.next(), found.next()) {
            (Some(at), None) => return use_at(&mut entries, at),
            (Some(_), Some(_)) => return Err(several(&format!("wasm/{os}"))),
            (None, _) => {}
        }
    }
    match entries.iter().filter(|entry| wasm(entry)).count() {
        0 => {}
        1 => entries.retain(wasm),
        _ => return Err(several("wasm")),
    }
    // Tools that index a single artifact leave its platform out, and those that build containers write
    // the one of the machine. Whether there is a module in it, its layers tell.
    if entries.len() == 1 {
        return use_at(&mut entries, 0);
    }
    let offered: Vec<String> = entries
        .iter()
        .take(16)
        .map(|entry| match entry.platform() {
            ("", "") => "no platform".to_owned(),
            (os, architecture) => format!("{os}/{architecture}"),
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
        let arm = entry("linux", "arm64", "a");
        let words = refusal(&index_with(vec![linux, arm]));
        assert!(
            words.contains("linux/amd64") && words.contains("linux/arm64"),
            "{words}"
        );
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

    #[test]
    fn what_is_not_used_may_be_anything() {
        let wasm = || entry("wasip2", "wasm", "2");
        let sha512 = format!("sha512:{}", "0".repeat(128));
        let mut siblings = vec![
            json!({"mediaType": media::OCI_MANIFEST, "digest": sha512, "size": 1,
                   "platform": {"os": "linux", "architecture": "amd64"}}),
            json!({"mediaType": media::OCI_MANIFEST, "digest": Digest::of(b"s"), "size": 1,
                   "platform": {}, "annotations": null}),
            json!({"digest": "", "platform": null, "annotations": {"a": 1, "b": {"c": []}}}),
            json!({"size": -1, "platform": {"os": 7}}),
            json!({}),
            json!(null),
            json!([1, 2]),
        ];
        siblings.push(wasm());
        let mut index = index_with(siblings);
        index["annotations"] = Value::Null;
        index["subject"] = json!({"anything": [null]});
        let Parsed::Index(chosen) = parsed(&index).unwrap() else {
            panic!("an image")
        };
        assert_eq!(chosen.digest, Digest::of(b"2"));

        let mut image = image_with(vec![descriptor(media::WASM_LAYER)]);
        image["annotations"] = Value::Null;
        image["subject"] = Value::Null;
        image["manifests"] = Value::Null;
        image["mediaType"] = json!("");
        image["config"]["annotations"] = json!({"a": null});
        image["config"]["platform"] = Value::Null;
        image["layers"][0]["annotations"] = Value::Null;
        image["layers"][0]["urls"] = Value::Null;
        parsed(&image).unwrap();
    }

    #[test]
    fn what_is_used_must_be_right() {
        let sha512 = format!("sha512:{}", "0".repeat(128));
        let with = |pointer: &str, value: Value| {
            let mut image = image_with(vec![descriptor(media::WASM_LAYER)]);
            *image.pointer_mut(pointer).unwrap() = value;
            refusal(&image)
        };
        assert!(with("/layers/0/digest", json!(sha512)).contains("sha512"));
        assert!(with("/layers/0/digest", Value::Null).contains("digest"));
        assert!(with("/layers/0/size", Value::Null).contains("size"));
        assert!(with("/config/digest", json!(sha512)).contains("sha512"));
        let mut layer = descriptor(media::WASM_LAYER);
        layer["annotations"] = json!({"a": 1});
        assert!(refusal(&image_with(vec![layer])).contains("annotations"));
        let mut wasm = entry("wasip2", "wasm", "2");
        wasm["digest"] = json!(sha512);
        assert!(refusal(&index_with(vec![wasm])).contains("sha512"));
        assert!(
            parse(b" <html>login</html>")
                .unwrap_err()
                .to_string()
                .contains("web page")
        );
    }

    #[test]
    fn a_config_may_lie_in_the_manifest() {
        let mut image = image_with(vec![descriptor(media::WASM_LAYER)]);
        image["config"] = json!({"mediaType": media::EMPTY, "digest": Digest::of(b"{}"), "size": 2,
                                 "data": "e30="});
        let bytes = image.to_string();
        let manifest = Manifest::parse(bytes.as_bytes()).unwrap();
        assert_eq!(manifest.config_data.as_deref(), Some(&b"{}"[..]));
        for (data, code) in [
            ("e31=", "image-layout"),
            ("W10=", "image-digest-mismatch"),
            ("", "image-digest-mismatch"),
        ] {
            image["config"]["data"] = json!(data);
            assert_eq!(parsed(&image).unwrap_err().code(), code, "{data}");
        }
        image["config"]["data"] = json!("e30=");
        image["config"]["size"] = json!(3);
        assert_eq!(parsed(&image).unwrap_err().code(), "image-digest-mismatch");
    }

    #[test]
    fn the_layer_that_can_be_meant_is_chosen() {
        let of = |media_type: &str, content: &str, size: u64| json!({"mediaType": media_type, "digest": Digest::of(content.as_bytes()), "size": size});
        let tar = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let module = || of(tar, "module", 4000);
        let titled = |title: &str, content: &str| {
            let mut layer = of(tar, content, 4000);
            layer["annotations"] = json!({TITLE: title});
            layer
        };
        let mut zeros = of("application/vnd.oci.image.layer.v1.tar", "", 1024);
        zeros["digest"] = json!(EMPTY_TAR);
        for layers in [
            vec![of(tar, "empty", 32), module()],
            vec![module(), of(tar, "empty", 29), of(tar, "empty", 45)],
            // A tiny module under the type of an archive.
            vec![of(tar, "module", 41)],
            vec![
                of("application/vnd.oci.image.layer.v1.tar+zstd", "e", 22),
                module(),
            ],
            vec![zeros, module()],
            vec![of(media::EMPTY, "{}", 2), module()],
            vec![of("text/markdown", "readme", 4000), module()],
            vec![json!(null), module()],
            vec![
                titled("README.md", "readme"),
                titled("module.wasm", "module"),
            ],
            vec![of("application/octet-stream", "module", 4000)],
            vec![
                of(tar, "assets", 9000),
                of("Application/WASM", "module", 4000),
            ],
            vec![of(
                "application/vnd.module.wasm.content.layer.v1+wasm",
                "module",
                40,
            )],
        ] {
            let manifest = image_with(layers.clone()).to_string();
            let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
            assert_eq!(manifest.layer.digest, Digest::of(b"module"), "{layers:?}");
        }
        for (layers, words) in [
            (vec![module(), of(tar, "other", 4000)], "2 layers"),
            (
                vec![titled("a.wasm", "a"), titled("b.wasm", "b")],
                "2 layers",
            ),
            (
                vec![of(media::WASM_LAYER, "a", 9), of(media::WASM_LAYER, "b", 9)],
                "2 layers",
            ),
            (vec![of(tar, "empty", 32), of(tar, "empty", 32)], "2 layers"),
            (vec![of(media::EMPTY, "{}", 2)], "0 layers"),
            (
                vec![of("application/vnd.oci.image.layer.v1.tar+zstd", "z", 4000)],
                "zstd",
            ),
        ] {
            let refused = refusal(&image_with(layers));
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn the_only_entry_of_an_index_is_looked_into() {
        let attestation = json!({
            "mediaType": media::OCI_MANIFEST, "digest": Digest::of(b"a"), "size": 1,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {REFERENCE_TYPE: "attestation-manifest"},
        });
        let nested = json!({"mediaType": media::OCI_INDEX, "digest": Digest::of(b"x"), "size": 1});
        let mut bare = entry("", "", "x");
        bare["platform"] = json!({});
        for only in [
            nested,
            bare,
            entry("linux", "amd64", "x"),
            entry("wasip9", "wasm", "x"),
        ] {
            let index = index_with(vec![attestation.clone(), only]);
            let Parsed::Index(chosen) = parsed(&index).unwrap() else {
                panic!("an image")
            };
            assert_eq!(chosen.digest, Digest::of(b"x"));
        }
        let two = vec![entry("wasip9", "wasm", "x"), entry("js", "wasm", "y")];
        assert!(refusal(&index_with(two)).contains("several"));
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
