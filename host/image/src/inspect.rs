//! What an image is, told without any key.

use std::fmt;

use proplet_types::Digest;
use serde::Serialize;

use crate::manifest::Manifest;
use crate::media::{self, LayerForm};
use crate::ocicrypt::WrapType;

/// A summary of an image for people (`Display`) and programs (JSON). All of it is public; what it
/// says about encryption is what the manifest claims, which only decryption shows to be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The reference that it was resolved from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Digest of the image manifest.
    pub image_digest: Digest,
    /// Digest of the index that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_digest: Option<Digest>,
    /// Media type of the config.
    pub config_media_type: String,
    /// Media type of the layer.
    pub layer_media_type: String,
    /// Digest of the layer as it is in the registry.
    pub layer_digest: Digest,
    /// Size of the layer as it is in the registry, in bytes.
    pub layer_bytes: u64,
    /// How the Wasm lies in the layer.
    pub form: LayerForm,
    /// Whether the layer is encrypted.
    pub encrypted: bool,
    /// Who can open it: one entry per key packet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<InspectedKey>,
}

/// One way to open an encrypted layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedKey {
    /// Id of the key-encryption key.
    pub kid: String,
    /// How the layer's key is wrapped under it.
    pub wrap: WrapType,
}

/// Summarises a manifest.
pub fn inspect(manifest: &Manifest) -> Inspection {
    let keys = manifest
        .encryption
        .iter()
        .flat_map(|encryption| encryption.layer.packets());
    Inspection {
        reference: manifest.reference.as_ref().map(ToString::to_string),
        image_digest: manifest.digest,
        index_digest: manifest.index_digest,
        config_media_type: manifest.config.media_type.clone(),
        layer_media_type: manifest.layer.media_type.clone(),
        layer_digest: manifest.layer.digest,
        layer_bytes: manifest.layer.size,
        form: manifest.form,
        encrypted: manifest.encryption.is_some(),
        keys: keys
            .map(|packet| InspectedKey {
                kid: packet.kid().to_string(),
                wrap: packet.wrap(),
            })
            .collect(),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reference) = &self.reference {
            writeln!(f, "reference   {reference}")?;
        }
        writeln!(f, "image       {}", self.image_digest)?;
        if let Some(index) = &self.index_digest {
            writeln!(f, "index       {index}")?;
        }
        writeln!(f, "config      {}", on_one_line(&self.config_media_type))?;
        writeln!(f, "layer       {}", self.layer_digest)?;
        writeln!(
            f,
            "            {}, {} bytes",
            on_one_line(&self.layer_media_type),
            self.layer_bytes
        )?;
        let form = match (self.form, media::split_encrypted(&self.layer_media_type).0) {
            (LayerForm::Wasm, media::WASM_TO_OCI_LAYER) => "Wasm as wasm-to-oci packs it",
            (LayerForm::Wasm, media::WASM_LAYER) => "CNCF Wasm artifact",
            (LayerForm::Wasm, _) => "Wasm under a type of its own",
            (LayerForm::Archive, _) => "archive with one .wasm file, or raw Wasm",
        };
        writeln!(f, "form        {form}")?;
        if !self.encrypted {
            return writeln!(f, "encryption  none");
        }
        for key in &self.keys {
            writeln!(f, "encryption  key {}, wrapped with {}", key.kid, key.wrap)?;
        }
        Ok(())
    }
}

/// A stranger's text without control characters, so that it is one line of ours and no more.
fn on_one_line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Artifact;
    use bytes::Bytes;

    #[test]
    fn plain_and_encrypted_images_are_told_apart() {
        let plain = Artifact::wasm(Bytes::from_static(b"\0asm\x01\0\0\0")).unwrap();
        let kid = "kbs:///default/key/1".parse().unwrap();
        let encrypted = crate::encrypt::encrypt(&plain, &[1; 32], &kid).unwrap();

        let plain = inspect(&plain.manifest().unwrap());
        assert!(!plain.encrypted);
        assert!(plain.to_string().contains("encryption  none"));

        let encrypted = inspect(&encrypted.manifest().unwrap());
        let text = encrypted.to_string();
        assert!(
            text.contains("kbs:///default/key/1, wrapped with A256GCM"),
            "{text}"
        );
        let json = serde_json::to_value(&encrypted).unwrap();
        assert_eq!(json["keys"][0]["wrap"], "A256GCM");
        assert_eq!(json["form"], "wasm");
        assert_eq!(json["encrypted"], true);
    }
}
