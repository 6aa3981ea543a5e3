//! Images on a disk, in the forms that container tools write.
//!
//! | form | written by | told by |
//! | --- | --- | --- |
//! | OCI image layout 1.0, a folder | `skopeo copy … oci:FOLDER`, [`write()`] | `oci-layout` |
//! | the same in one tar file | `skopeo copy … oci-archive:FILE`, `docker save` since 25 | `oci-layout` in it |
//! | `dir:`, a folder of blobs by bare digest | `skopeo copy … dir:FOLDER` | `manifest.json` |
//!
//! The older archive of `docker save` keeps neither the manifest nor the layers as a registry has them,
//! so an image read from it would have another digest: it is refused by name.
//!
//! Whoever made the folder or the archive is not trusted more than a registry: every blob is checked
//! against its digest, and sizes are bounded.

mod archive;
mod file;
mod store;

use std::path::Path;

use bytes::Bytes;
use proplet_types::Digest;
use serde_json::{Value, json};

pub use self::archive::is_archive;
use self::store::Store;
use crate::artifact::Artifact;
use crate::error::ImageError;
use crate::manifest::{
    Descriptor, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Parsed, layer_digests, parse,
};
use crate::media;

/// Annotations of an `index.json` entry that name it: the specification's, and what `docker save` adds.
const NAMES: [&str; 2] = [REF_NAME, "io.containerd.image.name"];
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The most indexes that lead from one to the next.
const MAX_INDEXES: usize = 4;
const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX_FILE: &str = "index.json";
/// The manifest of a `dir:` folder, and the list of images of an old `docker save`.
const MANIFEST_FILE: &str = "manifest.json";

/// Reads an image from a folder or an archive: the one called `name`, or the only one.
///
/// Digests of manifest, config and layer are checked; a layer of more than `max_layer_bytes` is
/// refused.
///
/// # Errors
/// [`ImageError::Folder`], [`ImageError::Layout`], [`ImageError::NotFound`],
/// [`ImageError::TooLarge`] or [`ImageError::DigestMismatch`].
pub fn read(path: &Path, name: Option<&str>, max_layer_bytes: u64) -> Result<Artifact, ImageError> {
    let store = Store::open(path)?;
    let reader = if store.has(LAYOUT_FILE)? {
        Reader::layout(store)?
    } else if store.has(MANIFEST_FILE)? {
        Reader::directory(store, name)?
    } else {
        return Err(ImageError::Folder {
            path: path.display().to_string(),
            why: format!(
                "it has neither the file {LAYOUT_FILE} of an OCI image layout nor the file \
                 {MANIFEST_FILE} of skopeo's dir: folders"
            ),
        });
    };
    let mut manifest = reader.root(name)?;
    for _ in 0..MAX_INDEXES {
        match parse(&manifest)? {
            Parsed::Index(entry) => manifest = reader.manifest(entry.digest)?,
            Parsed::Image(_) => break,
        }
    }
    let parsed = Manifest::parse(&manifest)?;
    let config = match &parsed.config_data {
        Some(data) => data.clone(),
        None => reader.blob("config", parsed.config.digest, MAX_CONFIG_BYTES)?,
    };
    let layer = reader.blob("layer", parsed.layer.digest, max_layer_bytes)?;
    // Whoever only looks at the image can do without them, so it is a push that misses them.
    let others = layer_digests(&manifest)
        .iter()
        .filter_map(|digest| digest.parse().ok())
        .filter(|digest| *digest != parsed.layer.digest)
        .filter_map(|digest| reader.blob("layer", digest, max_layer_bytes).ok())
        .collect();
    Ok(Artifact::new(manifest, config, layer)?.with_others(others))
}

/// Writes an image into an OCI layout folder under `name`, creating the folder if needed and replacing
/// an image of the same name. Other images of the folder stay.
///
/// # Errors
/// [`ImageError::Folder`], or [`ImageError::Layout`] when the folder's index is not readable or the image
/// is not whole.
pub fn write(folder: &Path, name: &str, artifact: &Artifact) -> Result<(), ImageError> {
    let blobs = folder.join("blobs").join("sha256");
    std::fs::create_dir_all(&blobs).map_err(|e| file::failed(&blobs, &e))?;
    let manifest = [artifact.manifest_bytes()];
    for bytes in artifact.blobs()?.into_iter().chain(manifest) {
        file::replace(&blobs.join(Digest::of(bytes).hex()), bytes)?;
    }
    let index_path = folder.join(INDEX_FILE);
    let mut entries = match std::fs::exists(&index_path) {
        Ok(true) => {
            let index = file::load(&index_path, MAX_MANIFEST_BYTES)?;
            entries(&index_path.display().to_string(), &index)?
        }
        Ok(false) => Vec::new(),
        Err(e) => return Err(file::failed(&index_path, &e)),
    };
    entries.retain(|entry| !names(entry).any(|had| had == name));
    entries.push(json!({
        "mediaType": media::OCI_MANIFEST,
        "digest": artifact.digest(),
        "size": artifact.manifest_bytes().len(),
        "annotations": { REF_NAME: name },
    }));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_INDEX,
        "manifests": entries,
    });
    file::replace(&index_path, index.to_string().as_bytes())?;
    file::replace(&folder.join(LAYOUT_FILE), LAYOUT.as_bytes())
}

/// One image store of a known form.
struct Reader {
    store: Store,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Layout,
    Directory,
}

impl Reader {
    fn layout(store: Store) -> Result<Self, ImageError> {
        let version = store.load(LAYOUT_FILE, MAX_CONFIG_BYTES)?;
        let version: Value = serde_json::from_slice(&version).unwrap_or_default();
        if version.get("imageLayoutVersion") != Some(&json!("1.0.0")) {
            return Err(ImageError::layout(
                store.show(LAYOUT_FILE),
                "it does not say imageLayoutVersion 1.0.0",
            ));
        }
        Ok(Self {
            store,
            form: Form::Layout,
        })
    }

    fn directory(store: Store, name: Option<&str>) -> Result<Self, ImageError> {
        if store.is_archive() {
            return Err(ImageError::layout(
                store.show(MANIFEST_FILE),
                "this is an archive of `docker save` in its older form, which does not hold the image \
                 as a registry has it; make an OCI archive of it with `skopeo copy \
                 docker-archive:FILE oci-archive:OTHER`, or save it with docker 25 or later",
            ));
        }
        if let Some(name) = name {
            return Err(ImageError::NotFound {
                what: format!(
                    "image {name:?} in {}, a dir: folder, whose one image has no name",
                    store.show("")
                ),
            });
        }
        Ok(Self {
            store,
            form: Form::Directory,
        })
    }

    /// The manifest or index that reading starts at.
    fn root(&self, name: Option<&str>) -> Result<Bytes, ImageError> {
        match self.form {
            Form::Directory => self.store.load(MANIFEST_FILE, MAX_MANIFEST_BYTES),
            Form::Layout => {
                let index = self.store.load(INDEX_FILE, MAX_MANIFEST_BYTES)?;
                let entry = select(&self.store.show(INDEX_FILE), &index, name)?;
                self.manifest(entry.digest)
            }
        }
    }

    /// A manifest or index by digest.
    fn manifest(&self, digest: Digest) -> Result<Bytes, ImageError> {
        let name = match self.form {
            Form::Directory => format!("{}.manifest.json", digest.hex()),
            Form::Layout => blob_name(digest),
        };
        self.checked("manifest", &name, digest, MAX_MANIFEST_BYTES)
    }

    fn blob(&self, what: &str, digest: Digest, limit: u64) -> Result<Bytes, ImageError> {
        let name = match self.form {
            Form::Directory => digest.hex(),
            Form::Layout => blob_name(digest),
        };
        self.checked(what, &name, digest, limit)
    }

    /// A file whose digest is checked.
    fn checked(
        &self,
        what: &str,
        name: &str,
        digest: Digest,
        limit: u64,
    ) -> Result<Bytes, ImageError> {
        let bytes = self.store.load(name, limit)?;
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(ImageError::DigestMismatch {
                what: format!("{what} {digest}"),
                expected: digest.to_string(),
                actual: actual.to_string(),
            });
        }
        Ok(bytes)
    }
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The entries of an `index.json`.
fn entries(path: &str, index: &[u8]) -> Result<Vec<Value>, ImageError> {
    let mut index: Value = serde_json::from_slice(index)
        .map_err(|e| ImageError::layout(path, format!("no JSON: {e}")))?;
    match index.get_mut("manifests").map(Value::take) {
        Some(Value::Array(entries)) => Ok(entries),
        _ => Err(ImageError::layout(path, "it has no manifests")),
    }
}

fn names(entry: &Value) -> impl Iterator<Item = &str> {
    let annotations = entry.get("annotations");
    NAMES
        .iter()
        .filter_map(move |name| annotations?.get(name)?.as_str())
}

fn select(path: &str, index: &[u8], name: Option<&str>) -> Result<Descriptor, ImageError> {
    let mut entries = entries(path, index)?;
    if let Some(name) = name {
        entries.retain(|entry| names(entry).any(|had| had == name));
    }
    match <[Value; 1]>::try_from(entries) {
        Ok([entry]) => serde_json::from_value(entry)
            .map_err(|e| ImageError::layout(path, format!("its entry is malformed: {e}"))),
        Err(entries) if entries.is_empty() => Err(ImageError::NotFound {
            what: format!("image {:?} in {path}", name.unwrap_or_default()),
        }),
        Err(entries) => {
            let known: Vec<&str> = entries
                .iter()
                .take(16)
                .filter_map(|entry| names(entry).next())
                .collect();
            Err(ImageError::layout(
                path,
                format!("it has several images, name one of: {}", known.join(", ")),
            ))
        }
    }
}

#[cfg(test)]
mod tests;
