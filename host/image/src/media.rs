//! Media types: which ones are images, which ones hold Wasm, and how.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Config of a CNCF Wasm OCI artifact.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Layer of a CNCF Wasm OCI artifact.
pub const WASM_LAYER: &str = "application/wasm";
/// Config as `wasm-to-oci` writes it.
pub const WASM_TO_OCI_CONFIG: &str = "application/vnd.wasm.config.v1+json";
/// Layer as `wasm-to-oci` writes it.
pub const WASM_TO_OCI_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// What stands where something must stand and nothing is needed (OCI image specification 1.1).
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// What OCIcrypt appends to the media type of an encrypted layer.
pub const ENCRYPTED_SUFFIX: &str = "+encrypted";

/// Media types of image manifests.
pub(crate) const IMAGE_MANIFESTS: &[&str] = &[OCI_MANIFEST, DOCKER_MANIFEST];
/// Media types of indexes.
pub(crate) const IMAGE_INDEXES: &[&str] = &[OCI_INDEX, DOCKER_INDEX];

const TAR_LAYERS: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// What tools write that know nothing about the file, or only how it is packed.
const UNSPECIFIC_LAYERS: &[&str] = &[
    "application/octet-stream",
    "application/gzip",
    "application/x-gzip",
    "application/tar",
    "application/tar+gzip",
    "application/x-tar",
];

/// Whether the layers of this media type are archives by name, whatever compresses them.
pub(crate) fn is_tar(plain_media_type: &str) -> bool {
    let media_type = plain_media_type.to_ascii_lowercase();
    media_type.ends_with(".tar") || media_type.contains(".tar+") || media_type.contains(".tar.")
}

/// How the Wasm lies in a (decrypted) layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerForm {
    /// The layer is the Wasm.
    Wasm,
    /// The layer is a tar archive, perhaps gzipped, with exactly one `.wasm` file; or Wasm that a
    /// stock tool would only encrypt under a tar media type, or that was pushed without a type. The bytes tell which: the media type
    /// of a layer is the least reliable thing about it.
    Archive,
}

impl LayerForm {
    /// The form that the media type of a layer, without `+encrypted`, promises. Whatever ends in
    /// `+wasm` is Wasm: each of the early runtimes had a name of its own.
    ///
    /// # Errors
    /// Says why the media type is not taken, and which are.
    pub fn of(plain_media_type: &str) -> Result<Self, String> {
        // Media types have no upper and lower case, and may have parameters (RFC 6838).
        let essence = plain_media_type.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        if essence == WASM_LAYER || essence.ends_with("+wasm") {
            return Ok(Self::Wasm);
        }
        if [TAR_LAYERS, UNSPECIFIC_LAYERS]
            .concat()
            .contains(&essence.as_str())
        {
            return Ok(Self::Archive);
        }
        let shown: String = plain_media_type.chars().take(128).collect();
        Err(if shown.contains("zstd") {
            format!(
                "layer media type {shown:?}: zstd layers are not read; use gzip or {WASM_LAYER}"
            )
        } else {
            format!(
                "layer media type {shown:?} holds no Wasm that this host knows; use {WASM_LAYER}, \
                 {WASM_TO_OCI_LAYER} or a tar layer with one .wasm file"
            )
        })
    }
}

/// The media type without `+encrypted`, and whether it had it.
pub fn split_encrypted(media_type: &str) -> (&str, bool) {
    match media_type.strip_suffix(ENCRYPTED_SUFFIX) {
        Some(plain) => (plain, true),
        None => (media_type, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_layers() {
        assert_eq!(LayerForm::of(WASM_LAYER), Ok(LayerForm::Wasm));
        assert_eq!(LayerForm::of(WASM_TO_OCI_LAYER), Ok(LayerForm::Wasm));
        for tar in TAR_LAYERS {
            assert_eq!(LayerForm::of(tar), Ok(LayerForm::Archive));
            assert!(is_tar(tar), "{tar}");
        }
        assert!(is_tar("application/vnd.oci.image.layer.v1.tar+zstd"));
        for other in UNSPECIFIC_LAYERS {
            assert_eq!(LayerForm::of(other), Ok(LayerForm::Archive));
            assert!(!is_tar(other) || other.contains("tar"), "{other}");
        }
    }

    #[test]
    fn types_of_early_runtimes_and_other_spellings_are_wasm() {
        for wasm in [
            "Application/WASM",
            "application/wasm; charset=binary",
            "application/vnd.module.wasm.content.layer.v1+wasm",
            "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
            "application/vnd.w3c.wasm.module.v1+wasm",
        ] {
            assert_eq!(LayerForm::of(wasm), Ok(LayerForm::Wasm), "{wasm}");
        }
        for other in [
            "",
            "wasm",
            "application/vnd.wasm.config.v0+json",
            "text/html",
        ] {
            LayerForm::of(other).unwrap_err();
        }
    }

    #[test]
    fn unknown_layers_say_what_to_use() {
        assert!(
            LayerForm::of("text/plain")
                .unwrap_err()
                .contains(WASM_LAYER)
        );
        let zstd = LayerForm::of("application/vnd.oci.image.layer.v1.tar+zstd").unwrap_err();
        assert!(zstd.contains("zstd"));
        assert!(LayerForm::of("application/wasm+encrypted").is_err());
    }

    #[test]
    fn the_suffix_is_split_once() {
        assert_eq!(
            split_encrypted("application/wasm"),
            ("application/wasm", false)
        );
        assert_eq!(
            split_encrypted("application/wasm+encrypted"),
            ("application/wasm", true)
        );
        assert_eq!(
            split_encrypted("a/b+encrypted+encrypted"),
            ("a/b+encrypted", true)
        );
    }
}
