//! Descriptors: what a manifest or an index says about a blob, as far as it is known yet.

use std::collections::BTreeMap;

use proplet_types::Digest;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::media;

/// No compressed archive with a file in it is this small.
const MAX_EMPTY_LAYER_BYTES: u64 = 64;

/// An archive that is two blocks of zeros, its end.
pub(super) const EMPTY_TAR: &str =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// The same, filled up to a record of twenty blocks.
const EMPTY_TAR_RECORD: &str =
    "sha256:84ff92691f909a05b224e1c56abb4864f01b4f8e3c854e4bb4c7baf1d3f6d652";

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

/// A descriptor of which it is not known yet whether it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDescriptor {
    pub(super) media_type: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) annotations: Option<Value>,
    pub(super) platform: Option<Platform>,
    pub(super) data: Option<String>,
}

impl RawDescriptor {
    /// The descriptor, now that it is used.
    pub(super) fn used(self) -> Result<Descriptor, String> {
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

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name)?.as_str()
    }

    /// Operating system and architecture, each empty when it is not said.
    pub(super) fn platform(&self) -> (&str, &str) {
        self.platform
            .as_ref()
            .map_or(("", ""), |p| (p.os.as_str(), p.architecture.as_str()))
    }

    pub(super) fn plain_media_type(&self) -> &str {
        media::split_encrypted(self.media_type.as_deref().unwrap_or_default()).0
    }

    /// Whether there can be no archive with a file in this layer: what build tools write for steps that
    /// change none. It could still be a tiny module that only bears the media type of an archive.
    pub(super) fn is_empty_layer(&self) -> bool {
        media::is_tar(self.plain_media_type())
            && (self.size.is_some_and(|size| size <= MAX_EMPTY_LAYER_BYTES)
                || matches!(self.digest.as_deref(), Some(EMPTY_TAR | EMPTY_TAR_RECORD)))
    }
}

/// An element of a list. One that is no descriptor is passed over as long as another one is meant.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    Read(Box<RawDescriptor>),
    Unread(IgnoredAny),
}

impl Entry {
    pub(super) fn read(self) -> Option<RawDescriptor> {
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
