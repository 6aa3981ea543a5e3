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
];

/// How the Wasm lies in a (decrypted) layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerForm {
    /// The layer is the Wasm.
    Wasm,
    /// The layer is a tar archive, perhaps gzipped, with exactly one `.wasm` file; or Wasm that a
    /// stock tool would only encrypt under a tar media type. The bytes tell which: the media type
    /// of a layer is the least reliable thing about it.
    Archive,
}

impl LayerForm {
    /// The form that the media type of a layer, without `+encrypted`, promises.
    ///
    /// # Errors
    /// Says why the media type is not taken, and which are.
    pub fn of(plain_media_type: &str) -> Result<Self, String> {
        if matches!(plain_media_type, WASM_LAYER | WASM_TO_OCI_LAYER) {
            return Ok(Self::Wasm);
        }
        if TAR_LAYERS.contains(&plain_media_type) {
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
