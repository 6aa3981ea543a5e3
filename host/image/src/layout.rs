//! Images in folders (OCI image layout 1.0): what `skopeo copy … oci:folder` reads and writes.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{Descriptor, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Parsed, parse};
use crate::media;

/// Annotation of an `index.json` entry that names it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX_FILE: &str = "index.json";

/// Reads an image from a layout folder: the one called `name`, or the only one.
///
/// Digests of manifest, config and layer are checked; a layer of more than `max_layer_bytes` is
/// refused.
///
/// # Errors
/// [`ImageError::Folder`], [`ImageError::Layout`], [`ImageError::NotFound`],
/// [`ImageError::TooLarge`] or [`ImageError::DigestMismatch`].
pub fn read(
    folder: &Path,
    name: Option<&str>,
    max_layer_bytes: u64,
) -> Result<Artifact, ImageError> {
    let version = load(&folder.join(LAYOUT_FILE), MAX_CONFIG_BYTES)?;
    let version: Value = serde_json::from_slice(&version).unwrap_or_default();
    if version.get("imageLayoutVersion") != Some(&json!("1.0.0")) {
        return Err(ImageError::layout(
            folder.join(LAYOUT_FILE).display().to_string(),
            "it does not say imageLayoutVersion 1.0.0",
        ));
    }
    let index_path = folder.join(INDEX_FILE);
    let index = load(&index_path, MAX_MANIFEST_BYTES)?;
    let entry = select(&index_path, &index, name)?;
    let mut manifest = blob(folder, "manifest", entry.digest, MAX_MANIFEST_BYTES)?;
    if let Parsed::Index(entry) = parse(&manifest)? {
        manifest = blob(folder, "manifest", entry.digest, MAX_MANIFEST_BYTES)?;
    }
    let parsed = Manifest::parse(&manifest)?;
    let config = blob(folder, "config", parsed.config.digest, MAX_CONFIG_BYTES)?;
    let layer = blob(folder, "layer", parsed.layer.digest, max_layer_bytes)?;
    Artifact::new(manifest, config, layer)
}

/// Writes an image into a layout folder under `name`, creating the folder if needed and replacing
/// an image of the same name. Other images of the folder stay.
///
/// # Errors
/// [`ImageError::Folder`], or [`ImageError::Layout`] when the folder's index is not readable.
pub fn write(folder: &Path, name: &str, artifact: &Artifact) -> Result<(), ImageError> {
    let blobs = folder.join("blobs").join("sha256");
    std::fs::create_dir_all(&blobs).map_err(|e| failed(&blobs, &e))?;
    for bytes in [
        artifact.layer(),
        artifact.config(),
        artifact.manifest_bytes(),
    ] {
        store(&blobs.join(Digest::of(bytes).hex()), bytes)?;
    }
    let index_path = folder.join(INDEX_FILE);
    let mut entries = match std::fs::exists(&index_path) {
        Ok(true) => entries(&index_path, &load(&index_path, MAX_MANIFEST_BYTES)?)?,
        Ok(false) => Vec::new(),
        Err(e) => return Err(failed(&index_path, &e)),
    };
    entries.retain(|entry| named(entry) != Some(name));
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
    store(&index_path, index.to_string().as_bytes())?;
    store(&folder.join(LAYOUT_FILE), LAYOUT.as_bytes())
}

/// The entries of an `index.json`.
fn entries(path: &Path, index: &[u8]) -> Result<Vec<Value>, ImageError> {
    let mut index: Value = serde_json::from_slice(index)
        .map_err(|e| ImageError::layout(path.display().to_string(), format!("no JSON: {e}")))?;
    match index.get_mut("manifests").map(Value::take) {
        Some(Value::Array(entries)) => Ok(entries),
        _ => Err(ImageError::layout(
            path.display().to_string(),
            "it has no manifests",
        )),
    }
}

fn named(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn select(path: &Path, index: &[u8], name: Option<&str>) -> Result<Descriptor, ImageError> {
    let mut entries = entries(path, index)?;
    if let Some(name) = name {
        entries.retain(|entry| named(entry) == Some(name));
    }
    match <[Value; 1]>::try_from(entries) {
        Ok([entry]) => serde_json::from_value(entry).map_err(|e| {
            ImageError::layout(
                path.display().to_string(),
                format!("its entry is malformed: {e}"),
            )
        }),
        Err(entries) if entries.is_empty() => Err(ImageError::NotFound {
            what: format!("image {:?} in {}", name.unwrap_or_default(), path.display()),
        }),
        Err(entries) => {
            let names: Vec<&str> = entries.iter().take(16).filter_map(named).collect();
            Err(ImageError::layout(
                path.display().to_string(),
                format!("it has several images, name one of: {}", names.join(", ")),
            ))
        }
    }
}

/// A blob of the folder, whose digest is checked.
fn blob(folder: &Path, what: &str, digest: Digest, limit: u64) -> Result<Bytes, ImageError> {
    let bytes = load(
        &folder.join("blobs").join("sha256").join(digest.hex()),
        limit,
    )?;
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

fn load(path: &Path, limit: u64) -> Result<Bytes, ImageError> {
    let file = std::fs::File::open(path).map_err(|e| failed(path, &e))?;
    let mut bytes = Vec::new();
    let read = file
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| failed(path, &e))?;
    if read as u64 > limit {
        return Err(ImageError::TooLarge {
            what: path.display().to_string(),
            limit,
        });
    }
    Ok(bytes.into())
}

/// Writes a file so that it is either whole or not there.
fn store(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, bytes).map_err(|e| failed(&partial, &e))?;
    std::fs::rename(&partial, path).map_err(|e| failed(path, &e))
}

fn failed(path: &Path, error: &std::io::Error) -> ImageError {
    ImageError::Folder {
        path: path.display().to_string(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1 << 20;

    fn artifact(last: u8) -> Artifact {
        Artifact::wasm(Bytes::from(vec![0, b'a', b's', b'm', 1, 0, 0, 0, last])).unwrap()
    }

    #[test]
    fn images_round_trip_by_name() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "one", &artifact(1)).unwrap();
        assert_eq!(read(folder.path(), None, MAX).unwrap(), artifact(1));
        write(folder.path(), "two", &artifact(2)).unwrap();
        write(folder.path(), "one", &artifact(3)).unwrap();
        assert_eq!(read(folder.path(), Some("one"), MAX).unwrap(), artifact(3));
        assert_eq!(read(folder.path(), Some("two"), MAX).unwrap(), artifact(2));
        let several = read(folder.path(), None, MAX).unwrap_err().to_string();
        assert!(several.contains("two, one"), "{several}");
        let missing = read(folder.path(), Some("three"), MAX).unwrap_err();
        assert_eq!(missing.code(), "image-not-found");
    }

    #[test]
    fn damaged_folders_are_refused() {
        let code = |damage: &dyn Fn(&Path)| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), "one", &artifact(1)).unwrap();
            damage(folder.path());
            read(folder.path(), None, MAX).unwrap_err().code()
        };
        let remove = |name: &'static str| {
            move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap()
        };
        let replace = |name: &'static str, with: &'static str| {
            move |folder: &Path| std::fs::write(folder.join(name), with).unwrap()
        };
        assert_eq!(code(&remove(LAYOUT_FILE)), "image-folder");
        assert_eq!(code(&remove(INDEX_FILE)), "image-folder");
        assert_eq!(code(&replace(LAYOUT_FILE, "{}")), "image-layout");
        assert_eq!(code(&replace(INDEX_FILE, "{}")), "image-layout");
        assert_eq!(
            code(&replace(INDEX_FILE, "{\"manifests\":[1]}")),
            "image-layout"
        );
        let layer = artifact(1).manifest().unwrap().layer.digest.hex();
        assert_eq!(
            code(&|folder: &Path| std::fs::write(
                folder.join("blobs/sha256").join(&layer),
                b"other"
            )
            .unwrap()),
            "image-digest-mismatch"
        );
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "one", &artifact(1)).unwrap();
        assert_eq!(
            read(folder.path(), None, 8).unwrap_err().code(),
            "image-too-large"
        );
    }
}
