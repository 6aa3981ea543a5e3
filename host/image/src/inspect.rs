//! What an image is, told without any key.

use std::fmt;

use proplet_types::{Digest, MediaType, text::short_line};
use serde::Serialize;

use crate::manifest::Manifest;
use crate::media::{self, LayerForm};
use crate::ocicrypt::WrapType;

/// Longest text that is shown of what is no media type, in characters.
const MAX_SHOWN: usize = 64;

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
    /// Media type of the config, or why what stands there is none.
    pub config_media_type: String,
    /// Media type of the layer, or why what stands there is none.
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
        config_media_type: named(&manifest.config.media_type),
        layer_media_type: named(&manifest.layer.media_type),
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
        writeln!(f, "config      {}", self.config_media_type)?;
        writeln!(f, "layer       {}", self.layer_digest)?;
        writeln!(
            f,
            "            {}, {} bytes",
            self.layer_media_type, self.layer_bytes
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

/// The media type that a manifest names, or as much of what it holds instead as is fit to be shown.
fn named(text: &str) -> String {
    match text.parse::<MediaType>() {
        Ok(media_type) => media_type.to_string(),
        Err(error) => format!("{:?}: {error}", short_line(text, MAX_SHOWN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Artifact;
    use bytes::Bytes;
    use proplet_types::text::is_printable;

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

    #[test]
    fn a_media_type_is_one_or_is_said_to_be_none() {
        for good in [
            "application/vnd.wasm.config.v0+json",
            "Text/Plain; a=\"b c\"",
        ] {
            assert_eq!(named(good), good);
        }
        for bad in [
            String::new(),
            "wasm".to_owned(),
            "text/plain\u{1b}[31m".to_owned(),
            "application/\u{202e}msaw".to_owned(),
            "text/plain\nimage       sha256:00".to_owned(),
            format!("text/{}", "x".repeat(1 << 20)),
        ] {
            let shown = named(&bad);
            assert!(shown.contains("media type"), "{shown}");
            assert!(shown.len() < 256, "{}", shown.len());
            assert!(is_printable(&shown) && !shown.contains('\n'), "{shown:?}");
        }
    }
}
