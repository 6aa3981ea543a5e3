//! Key packets: what the `attestation-agent` key provider puts into an annotation.
//!
//! Version 1 is `{kid, wrapped_data, iv, wrap_type}`; version 2 adds `version`, `provider`,
//! `provider_settings` and `annotations`. Both are read, version 1 is written, as the stock key
//! provider does. The packet is not authenticated, so nothing in it is skipped over: an unknown
//! member, a second spelling of a key id or stray bits in base64 refuse it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proplet_types::ResourceUri;
use serde::{Deserialize, Serialize};

use super::error::OcicryptError;

/// The only version that version 2 packets have had.
const VERSION_2: &str = "0.1.0";
/// The provider of version 2 packets whose key id is a KBS resource.
const PROVIDER_KBS: &str = "kbs";

/// How the private options are wrapped under the key-encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum WrapType {
    /// AES-256-GCM: authenticated, the default of every tool.
    #[serde(rename = "A256GCM")]
    A256Gcm,
    /// AES-256-CTR: not authenticated. Refused unless the settings allow it.
    #[serde(rename = "A256CTR")]
    A256Ctr,
}

impl WrapType {
    /// Length of the initialisation vector in bytes.
    pub fn iv_len(self) -> usize {
        match self {
            Self::A256Gcm => 12,
            Self::A256Ctr => 16,
        }
    }
}

impl fmt::Display for WrapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A256Gcm => "A256GCM",
            Self::A256Ctr => "A256CTR",
        })
    }
}

/// A parsed key packet. Public data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationPacket {
    kid: ResourceUri,
    wrapped: Vec<u8>,
    iv: Vec<u8>,
    wrap: WrapType,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPacket {
    version: Option<String>,
    provider: Option<String>,
    #[serde(rename = "provider_settings")]
    _provider_settings: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(rename = "annotations")]
    _annotations: Option<serde_json::Map<String, serde_json::Value>>,
    kid: String,
    wrapped_data: String,
    iv: Option<String>,
    wrap_type: Option<String>,
}

#[derive(Serialize)]
struct PacketV1<'a> {
    kid: String,
    wrapped_data: String,
    iv: String,
    wrap_type: &'a str,
}

impl AnnotationPacket {
    /// Builds a packet from its parts.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`] when `iv` has another length than `wrap` needs.
    pub fn new(
        kid: ResourceUri,
        wrapped: Vec<u8>,
        iv: Vec<u8>,
        wrap: WrapType,
    ) -> Result<Self, OcicryptError> {
        if iv.len() != wrap.iv_len() {
            return Err(OcicryptError::malformed(
                "key packet, iv",
                format!("it has {} bytes; {wrap} needs {}", iv.len(), wrap.iv_len()),
            ));
        }
        Ok(Self {
            kid,
            wrapped,
            iv,
            wrap,
        })
    }

    /// Parses the JSON text of a packet, version 1 or 2.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`], naming the member.
    pub fn from_json(json: &[u8]) -> Result<Self, OcicryptError> {
        let raw: RawPacket =
            serde_json::from_slice(json).map_err(|e| OcicryptError::malformed("key packet", e))?;
        match (raw.version.as_deref(), raw.provider.as_deref()) {
            (None, None) => {}
            (Some(VERSION_2), Some(PROVIDER_KBS)) => {}
            (Some(VERSION_2), Some(provider)) => {
                return Err(OcicryptError::malformed(
                    "key packet, provider",
                    format!("{:?} is not served; only kbs is", cut(provider)),
                ));
            }
            _ => {
                return Err(OcicryptError::malformed(
                    "key packet, version",
                    "it is neither version 1 (no version) nor 0.1.0 with a provider",
                ));
            }
        }
        let kid: ResourceUri = raw
            .kid
            .parse()
            .map_err(|e| OcicryptError::malformed("key packet, kid", e))?;
        if kid.to_string() != raw.kid {
            return Err(OcicryptError::malformed(
                "key packet, kid",
                format!("it is not in its one canonical spelling, {kid}"),
            ));
        }
        let wrap = match raw.wrap_type.as_deref() {
            Some("A256GCM") => WrapType::A256Gcm,
            Some("A256CTR") => WrapType::A256Ctr,
            Some(other) => {
                return Err(OcicryptError::malformed(
                    "key packet, wrap_type",
                    format!("{:?} is neither A256GCM nor A256CTR", cut(other)),
                ));
            }
            None => {
                return Err(OcicryptError::malformed(
                    "key packet, wrap_type",
                    "it is missing",
                ));
            }
        };
        let iv = raw
            .iv
            .ok_or_else(|| OcicryptError::malformed("key packet, iv", "it is missing"))?;
        let decode = |what: &str, text: &str| {
            STANDARD
                .decode(text)
                .map_err(|e| OcicryptError::malformed(what, e))
        };
        Self::new(
            kid,
            decode("key packet, wrapped_data", &raw.wrapped_data)?,
            decode("key packet, iv", &iv)?,
            wrap,
        )
    }

    /// The packet as version 1 JSON, members in the order of the stock key provider.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`] when it cannot be serialised, which no packet causes.
    pub fn to_json(&self) -> Result<String, OcicryptError> {
        serde_json::to_string(&PacketV1 {
            kid: self.kid.to_string(),
            wrapped_data: STANDARD.encode(&self.wrapped),
            iv: STANDARD.encode(&self.iv),
            wrap_type: match self.wrap {
                WrapType::A256Gcm => "A256GCM",
                WrapType::A256Ctr => "A256CTR",
            },
        })
        .map_err(|e| OcicryptError::malformed("key packet", e))
    }

    /// Id of the key-encryption key.
    pub fn kid(&self) -> &ResourceUri {
        &self.kid
    }

    /// How the options are wrapped.
    pub fn wrap(&self) -> WrapType {
        self.wrap
    }

    /// The wrapped options; with A256GCM the 16-byte tag comes last.
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// The initialisation vector, of [`WrapType::iv_len`] bytes.
    pub fn iv(&self) -> &[u8] {
        &self.iv
    }
}

/// A text of others, short enough for a message.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V1: &str = r#"{"kid":"kbs:///default/key/1","wrapped_data":"AAEC","iv":"AAECAwQFBgcICQoL","wrap_type":"A256GCM"}"#;

    #[test]
    fn version_1_round_trips_byte_for_byte() {
        let packet = AnnotationPacket::from_json(V1.as_bytes()).unwrap();
        assert_eq!(packet.kid().path(), "default/key/1");
        assert_eq!(packet.wrap(), WrapType::A256Gcm);
        assert_eq!(packet.to_json().unwrap(), V1);
    }

    #[test]
    fn version_2_means_the_same() {
        let v2 = r#"{"version":"0.1.0","provider":"kbs","kid":"kbs:///default/key/1",
            "wrapped_data":"AAEC","iv":"AAECAwQFBgcICQoL","wrap_type":"A256GCM",
            "provider_settings":{},"annotations":{}}"#;
        assert_eq!(
            AnnotationPacket::from_json(v2.as_bytes()).unwrap(),
            AnnotationPacket::from_json(V1.as_bytes()).unwrap()
        );
    }

    #[test]
    fn every_malformed_member_is_named() {
        for (from, to, named) in [
            ("kbs:///default/key/1", "/default/key/1", "kid"),
            ("kbs:///default/key/1", "kbs:///default/key", "kid"),
            ("kbs:///default/key/1", "kbs://HOST/default/key/1", "kid"),
            ("\"AAEC\"", "\"AAE\"", "wrapped_data"),
            ("AAECAwQFBgcICQoL", "AAEC", "iv"),
            ("AAECAwQFBgcICQoL", "AAECAwQFBgcICQo_", "iv"),
            ("A256GCM", "A128GCM", "wrap_type"),
            (",\"wrap_type\":\"A256GCM\"", "", "wrap_type"),
            (",\"iv\":\"AAECAwQFBgcICQoL\"", "", "iv"),
            (
                "{",
                "{\"version\":\"0.2.0\",\"provider\":\"kbs\",",
                "version",
            ),
            ("{", "{\"version\":\"0.1.0\",", "version"),
            (
                "{",
                "{\"version\":\"0.1.0\",\"provider\":\"aliyun\",",
                "provider",
            ),
            ("{", "{\"more\":1,", "more"),
            ("{", "{\"kid\":\"kbs:///a/b/c\",", "kid"),
            ("A256GCM", "A256CTR", "iv"),
        ] {
            let json = V1.replacen(from, to, 1);
            let error = AnnotationPacket::from_json(json.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(named), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = AnnotationPacket::from_json(&bytes);
        }

        #[test]
        fn what_is_parsed_round_trips(at in 0..V1.len(), with in 32u8..127) {
            let mut json = V1.as_bytes().to_vec();
            json[at] = with;
            if let Ok(packet) = AnnotationPacket::from_json(&json) {
                let again = AnnotationPacket::from_json(packet.to_json().unwrap().as_bytes());
                prop_assert_eq!(again.unwrap(), packet);
            }
        }
    }
}
