use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const MAX: u64 = 1 << 20;

fn artifact(last: u8) -> Artifact {
    Artifact::wasm(Bytes::from(vec![0, b'a', b's', b'm', 1, 0, 0, 0, last])).unwrap()
}

/// A `dir:` folder as skopeo writes it.
fn directory(folder: &Path, artifact: &Artifact) {
    std::fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    std::fs::write(folder.join(MANIFEST_FILE), artifact.manifest_bytes()).unwrap();
    for blob in [artifact.config(), artifact.layer()] {
        std::fs::write(folder.join(Digest::of(blob).hex()), blob).unwrap();
    }
}

/// A tar file with these files.
fn archive(path: &Path, files: &[(&str, &[u8])]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.finish().unwrap();
}

/// An OCI layout in one file, with a prefix before every name.
fn oci_archive(path: &Path, prefix: &str, images: &[(&str, &Artifact)]) {
    let folder = tempfile::tempdir().unwrap();
    for (name, artifact) in images {
        write(folder.path(), name, artifact).unwrap();
    }
    let mut files: Vec<(String, Vec<u8>)> = vec![];
    for name in [LAYOUT_FILE, INDEX_FILE] {
        let content = std::fs::read(folder.path().join(name)).unwrap();
        files.push((format!("{prefix}{name}"), content));
    }
    for blob in std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let name = blob.file_name().into_string().unwrap();
        let name = format!("{prefix}blobs/sha256/{name}");
        files.push((name, std::fs::read(blob.path()).unwrap()));
    }
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    archive(path, &files);
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
    let remove =
        |name: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap();
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
        code(
            &|folder: &Path| std::fs::write(folder.join("blobs/sha256").join(&layer), b"other")
                .unwrap()
        ),
        "image-digest-mismatch"
    );
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "one", &artifact(1)).unwrap();
    assert_eq!(
        read(folder.path(), None, 8).unwrap_err().code(),
        "image-too-large"
    );
}

#[test]
fn dir_folders_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let image = artifact(1);
    directory(folder.path(), &image);
    assert_eq!(read(folder.path(), None, MAX).unwrap(), image);
    // Older ones have no version.
    std::fs::remove_file(folder.path().join("version")).unwrap();
    assert_eq!(read(folder.path(), None, MAX).unwrap(), image);
    let named = read(folder.path(), Some("latest"), MAX).unwrap_err();
    assert_eq!(named.code(), "image-not-found");
    let small = read(folder.path(), None, 8).unwrap_err();
    assert_eq!(small.code(), "image-too-large");

    let layer = image.manifest().unwrap().layer.digest.hex();
    std::fs::write(folder.path().join(&layer), b"other").unwrap();
    let error = read(folder.path(), None, MAX).unwrap_err();
    assert_eq!(error.code(), "image-digest-mismatch");
    std::fs::remove_file(folder.path().join(layer)).unwrap();
    let error = read(folder.path(), None, MAX).unwrap_err();
    assert_eq!(error.code(), "image-folder");
}

#[test]
fn an_index_in_a_dir_folder_leads_to_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let image = artifact(1);
    directory(folder.path(), &image);
    let digest = image.digest();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_INDEX,
        "manifests": [{
            "mediaType": media::OCI_MANIFEST,
            "digest": digest,
            "size": image.manifest_bytes().len(),
            "platform": {"architecture": "wasm", "os": "wasip1"},
        }],
    });
    let name = format!("{}.manifest.json", digest.hex());
    std::fs::write(folder.path().join(name), image.manifest_bytes()).unwrap();
    std::fs::write(folder.path().join(MANIFEST_FILE), index.to_string()).unwrap();
    assert_eq!(read(folder.path(), None, MAX).unwrap(), image);
}

#[test]
fn archives_of_oci_layouts_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    for prefix in ["", "./"] {
        oci_archive(&path, prefix, &[("one", &artifact(1))]);
        assert!(is_archive(&path).unwrap());
        assert_eq!(read(&path, None, MAX).unwrap(), artifact(1), "{prefix:?}");
    }
    oci_archive(&path, "", &[("one", &artifact(1)), ("two", &artifact(2))]);
    assert_eq!(read(&path, Some("two"), MAX).unwrap(), artifact(2));
    assert_eq!(read(&path, None, MAX).unwrap_err().code(), "image-layout");
    assert_eq!(
        read(&path, Some("two"), 8).unwrap_err().code(),
        "image-too-large"
    );
}

#[test]
fn what_docker_saves_today_is_an_oci_layout_too() {
    let folder = tempfile::tempdir().unwrap();
    let (path, image) = (folder.path().join("image.tar"), artifact(1));
    let manifest = image.manifest().unwrap();
    let digest = image.digest();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": media::OCI_MANIFEST,
        "digest": digest,
        "size": image.manifest_bytes().len(),
        "annotations": {
            "io.containerd.image.name": "docker.io/library/hello:1",
            REF_NAME: "1",
        },
    }]});
    archive(
        &path,
        &[
            (&blob_name(digest), image.manifest_bytes()),
            (&blob_name(manifest.config.digest), image.config()),
            (&blob_name(manifest.layer.digest), image.layer()),
            (INDEX_FILE, index.to_string().as_bytes()),
            (MANIFEST_FILE, b"[{\"Config\":\"x\",\"Layers\":[]}]"),
            (LAYOUT_FILE, LAYOUT.as_bytes()),
        ],
    );
    for name in [None, Some("1"), Some("docker.io/library/hello:1")] {
        assert_eq!(read(&path, name, MAX).unwrap(), image, "{name:?}");
    }
}

#[test]
fn other_archives_are_refused_by_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let refused = |words: &str| {
        let error = read(&path, None, MAX).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    archive(&path, &[("manifest.json", b"[]"), ("0123/layer.tar", b"x")]);
    refused("docker save");
    archive(&path, &[("hello.wasm", b"\0asm")]);
    refused("neither");
    let layout = (LAYOUT_FILE, LAYOUT.as_bytes());
    archive(&path, &[layout, layout]);
    refused("twice");
    archive(&path, &[layout]);
    refused("not in the archive");
    std::fs::write(&path, "no archive").unwrap();
    assert!(!is_archive(&path).unwrap());
    refused("no readable tar archive");

    let file = std::fs::File::create(&path).unwrap();
    let mut zip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    zip.write_all(b"anything").unwrap();
    zip.finish().unwrap();
    assert!(is_archive(&path).unwrap());
    refused("gunzip");
}

#[test]
fn components_are_no_archives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.wasm");
    for bytes in [&b"\0asm\x01\0\0\0"[..], b"", b"ustar", &[b'x'; 300]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(!is_archive(&path).unwrap(), "{bytes:?}");
    }
    assert!(is_archive(&folder.path().join("none")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_archive_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048), at in 0_usize..4096, with: u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        std::fs::write(&path, &bytes).unwrap();
        let _ = read(&path, None, MAX);
        oci_archive(&path, "", &[("one", &artifact(1))]);
        let mut damaged = std::fs::read(&path).unwrap();
        if let Some(byte) = damaged.get_mut(at) {
            *byte = with;
        }
        std::fs::write(&path, damaged).unwrap();
        if let Ok(image) = read(&path, None, MAX) {
            prop_assert_eq!(image, artifact(1));
        }
    }
}
