//! The JSON members and the compact form of a JWE, on their way to and from checked parts.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::message::{ENC, Form, Jwe, MAX_RECIPIENTS, Recipient, malformed};
use crate::{Error, b64, json};

/// The members of the JSON serialization. Members that RFC 7516 does not know are ignored, as its
/// section 7.2.1 asks.
#[derive(Default, Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protected: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::optional_object"
    )]
    unprotected: Option<Map<String, Value>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::optional_object"
    )]
    header: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encrypted_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipients: Option<Vec<WireRecipient>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aad: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ciphertext: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireRecipient {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::optional_object"
    )]
    header: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encrypted_key: Option<String>,
}

impl Wire {
    /// Splits the compact serialization (RFC 7516 section 7.1).
    fn from_compact(text: &str) -> Result<Self, Error> {
        let mut parts = text.split('.');
        let mut next = || parts.next().map(str::to_owned);
        let (protected, encrypted_key, iv, ciphertext, tag) =
            (next(), next(), next(), next(), next());
        if tag.is_none() || next().is_some() {
            return Err(malformed("the compact form has five parts".to_owned()));
        }
        Ok(Self {
            protected,
            encrypted_key,
            iv,
            ciphertext,
            tag,
            ..Self::default()
        })
    }
}

impl Serialize for Jwe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Jwe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

impl FromStr for Jwe {
    type Err = Error;

    /// Reads a JWE from its JSON or its compact serialization. A text that starts with `{` is JSON.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.trim_start().starts_with('{') {
            let value = json::value_as(text.as_bytes(), "the JWE")?;
            return serde_json::from_value(value).map_err(|error| malformed(error.to_string()));
        }
        Wire::from_compact(text)?.try_into()
    }
}

impl TryFrom<Wire> for Jwe {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self, Error> {
        let (recipients, form) = match wire.recipients {
            Some(_) if wire.header.is_some() || wire.encrypted_key.is_some() => {
                return Err(malformed(
                    "it mixes the general and the flattened form".to_owned(),
                ));
            }
            Some(list) => (list, Form::General),
            None => {
                let only = WireRecipient {
                    header: wire.header,
                    encrypted_key: wire.encrypted_key,
                };
                (vec![only], Form::Flattened)
            }
        };
        if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
            return Err(malformed(format!("it has {} recipients", recipients.len())));
        }
        let protected = required(wire.protected, "protected")?;
        let header = json::object_as(
            &b64::decode_as(&protected, "the protected header of the JWE")?,
            "the protected header of the JWE",
        )?;
        if let Some(aad) = &wire.aad {
            b64::decode_as(aad, "the additional data of the JWE")?;
        }
        Ok(Self {
            header,
            protected,
            unprotected: wire.unprotected,
            recipients: recipients
                .into_iter()
                .map(Recipient::try_from)
                .collect::<Result<_, _>>()?,
            form,
            aad: wire.aad,
            iv: fixed(&required(wire.iv, "iv")?, "iv")?,
            ciphertext: b64::decode_as(
                &required(wire.ciphertext, "ciphertext")?,
                "the ciphertext of the JWE",
            )?,
            tag: fixed(&required(wire.tag, "tag")?, "tag")?,
        })
    }
}

impl From<Jwe> for Wire {
    fn from(jwe: Jwe) -> Self {
        let mut wire = Self {
            protected: Some(jwe.protected),
            unprotected: jwe.unprotected,
            aad: jwe.aad,
            iv: Some(b64::encode(&jwe.iv)),
            ciphertext: Some(b64::encode(&jwe.ciphertext)),
            tag: Some(b64::encode(&jwe.tag)),
            ..Self::default()
        };
        let mut recipients = jwe.recipients.into_iter().map(|recipient| WireRecipient {
            header: recipient.header,
            encrypted_key: Some(b64::encode(&recipient.encrypted_key)),
        });
        match jwe.form {
            Form::General => wire.recipients = Some(recipients.collect()),
            Form::Flattened => {
                if let Some(only) = recipients.next() {
                    wire.header = only.header;
                    wire.encrypted_key = only.encrypted_key;
                }
            }
        }
        wire
    }
}

impl TryFrom<WireRecipient> for Recipient {
    type Error = Error;

    fn try_from(wire: WireRecipient) -> Result<Self, Error> {
        let encrypted_key = required(wire.encrypted_key, "encrypted_key")?;
        let encrypted_key = b64::decode_as(&encrypted_key, "the encrypted key of the JWE")?;
        Ok(Self {
            header: wire.header,
            encrypted_key,
        })
    }
}

fn required(member: Option<String>, name: &str) -> Result<String, Error> {
    member.ok_or_else(|| malformed(format!("the member {name:?} is missing")))
}

fn fixed<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], Error> {
    let bytes = b64::decode_as(text, name)?;
    bytes.as_slice().try_into().map_err(|_| {
        malformed(format!(
            "{name:?} has {} bytes, wanted {N} for {ENC}",
            bytes.len()
        ))
    })
}
