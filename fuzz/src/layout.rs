//! Images on a disk: whoever hands over a folder or an archive has written every file of it.

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Component, Path};

use proplet_image::{Artifact, layout};
use proplet_types::Digest;

/// The most bytes that a layer may have here.
const MAX_LAYER: u64 = 1 << 16;
/// The most files that a folder is made of.
const MAX_FILES: usize = 32;

/// An archive: what is read of it is what its digests say, is written and read as the same, and is the same image in a
/// folder of the same files.
pub fn layout(bytes: &[u8]) -> bool {
    let Ok(scratch) = tempfile::tempdir() else {
        panic!("there is no room for a folder");
    };
    let path = scratch.path().join("image.tar");
    assert!(fs::write(&path, bytes).is_ok());
    let _ = layout::is_archive(&path);
    let _ = layout::read(&path, Some("1"), MAX_LAYER);
    let archived = layout::read(&path, None, MAX_LAYER).ok();
    if let Some(image) = &archived {
        holds(image);
        is_read_again(image, &scratch.path().join("again"));
    }
    let folder = scratch.path().join("folder");
    if unpack(bytes, &folder).is_none() {
        return archived.is_some();
    }
    let unpacked = layout::read(&folder, None, MAX_LAYER).ok();
    match &unpacked {
        Some(image) => holds(image),
        None => assert_eq!(archived, None),
    }
    // A folder has a form that an archive does not have.
    assert!(archived.is_none() || archived == unpacked);
    unpacked.is_some()
}

fn holds(image: &Artifact) {
    let Ok(manifest) = image.manifest() else {
        panic!("an image without a manifest");
    };
    assert_eq!(manifest.digest, image.digest());
    assert_eq!(manifest.layer.digest, Digest::of(image.layer()));
    assert_eq!(manifest.config.digest, Digest::of(image.config()));
    assert!(image.layer().len() as u64 <= MAX_LAYER);
}

/// An image that is not whole is not written.
fn is_read_again(image: &Artifact, folder: &Path) {
    if layout::write(folder, "image", image).is_ok() {
        let again = layout::read(folder, Some("image"), MAX_LAYER);
        assert_eq!(again.ok().as_ref(), Some(image));
    }
}

/// The files of an archive in a folder. None when a name leads elsewhere, or the files make no folder.
fn unpack(bytes: &[u8], folder: &Path) -> Option<()> {
    let mut archive = tar::Archive::new(bytes);
    let mut files = 0;
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path_bytes().into_owned();
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        let name = name.trim_start_matches("./");
        if plain(name).as_deref() != Some(name) {
            return None;
        }
        files += 1;
        if files > MAX_FILES {
            return None;
        }
        let path = folder.join(name);
        fs::create_dir_all(path.parent()?).ok()?;
        let mut content = Vec::new();
        entry.take(MAX_LAYER + 1).read_to_end(&mut content).ok()?;
        let mut file = fs::File::create_new(path).ok()?;
        file.write_all(&content).ok()?;
    }
    Some(())
}

/// The name by its parts; none when it leads elsewhere.
fn plain(name: &str) -> Option<String> {
    let parts = Path::new(name).components().map(|part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}
