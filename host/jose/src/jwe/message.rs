//! A message as its checked parts.

use std::fmt;

use serde_json::{Map, Value};

use crate::Error;

/// The one content encryption.
pub(super) const ENC: &str = "A256GCM";

pub(super) const IV_BYTES: usize = 12;

pub(super) const TAG_BYTES: usize = 16;

/// A JWE with more recipients is refused: each may cost its reader a key agreement.
pub const MAX_RECIPIENTS: usize = 64;

/// A JWE, structurally sound: it has a protected header, and every part is decoded and has the size that
/// A256GCM gives it.
///
/// With serde it is the JSON serialization, flattened or general (RFC 7516 section 7.2), and it is
/// written in the form that it was read in. With [`FromStr`](std::str::FromStr) the compact serialization is taken too.
#[derive(Clone, PartialEq, Eq)]
pub struct Jwe {
    /// The text of the protected header, as received.
    pub(super) protected: String,
    /// What it says.
    pub(super) header: Map<String, Value>,
    pub(super) unprotected: Option<Map<String, Value>>,
    pub(super) recipients: Vec<Recipient>,
    pub(super) form: Form,
    /// The text of the `aad` member, as received.
    pub(super) aad: Option<String>,
    pub(super) iv: [u8; IV_BYTES],
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: [u8; TAG_BYTES],
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    pub(super) header: Option<Map<String, Value>>,
    pub(super) encrypted_key: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Flattened,
    General,
}

/// A recipient with its JOSE header.
pub(super) type Joined<'a> = (Map<String, Value>, &'a Recipient);

impl Jwe {
    /// The protected header.
    #[must_use]
    pub fn protected(&self) -> &Map<String, Value> {
        &self.header
    }

    /// The `kid` of every recipient, in order; None for a recipient without one. Not authenticated when
    /// there are several recipients.
    #[must_use]
    pub fn recipients(&self) -> Vec<Option<&str>> {
        self.recipients
            .iter()
            .map(|recipient| {
                let places = [
                    Some(&self.header),
                    self.unprotected.as_ref(),
                    recipient.header.as_ref(),
                ];
                places
                    .into_iter()
                    .flatten()
                    .find_map(|header| header.get("kid")?.as_str())
            })
            .collect()
    }

    /// Length of the content in bytes, which the sealing does not hide.
    #[must_use]
    pub fn content_len(&self) -> usize {
        self.ciphertext.len()
    }

    /// The JOSE header of each recipient: the union of the three places, which RFC 7516 section 4
    /// wants disjoint.
    pub(super) fn joined_headers(&self) -> Result<Vec<Joined<'_>>, Error> {
        let mut all = Vec::with_capacity(self.recipients.len());
        for recipient in &self.recipients {
            let mut joined = self.header.clone();
            for (name, value) in [&self.unprotected, &recipient.header]
                .into_iter()
                .flatten()
                .flatten()
            {
                if joined.insert(name.clone(), value.clone()).is_some() {
                    return Err(malformed(format!(
                        "the header member {name:?} stands in two places"
                    )));
                }
            }
            for name in ["crit", "zip"] {
                if joined.contains_key(name) {
                    return Err(malformed(format!(
                        "its header has {name:?}, which is not understood"
                    )));
                }
            }
            let enc = joined
                .get("enc")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if enc != ENC {
                return Err(Error::UnsupportedAlgorithm {
                    what: "enc",
                    found: enc.to_owned(),
                    expected: ENC,
                });
            }
            all.push((joined, recipient));
        }
        Ok(all)
    }
}

impl fmt::Debug for Jwe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Jwe({} bytes for {:?})",
            self.ciphertext.len(),
            self.recipients()
        )
    }
}

pub(super) fn malformed(reason: String) -> Error {
    Error::Malformed {
        what: "JWE",
        reason,
    }
}
