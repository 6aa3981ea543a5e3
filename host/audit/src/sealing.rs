//! What only recipients may see of an entry.
//!
//! Each entry that has addresses has a JWE of its own, so that one entry can be shown to somebody without its key
//! opening another's log, and a chain can be checked by who cannot open anything. The JWE is part of the line, so
//! it is hashed with it.

use std::collections::BTreeMap;

use proplet_jose::{jwe, jwk::PublicKey};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The media type of what is sealed.
const TYPE: &str = "proplet-audit+json";

/// Who may see addresses of secrets, and who reads results.
#[derive(Debug, Clone)]
pub struct Sealing {
    recipients: Vec<PublicKey>,
}

impl Sealing {
    /// To these; none when there is nobody.
    #[must_use]
    pub fn to(recipients: Vec<PublicKey>) -> Option<Self> {
        (!recipients.is_empty()).then_some(Self { recipients })
    }

    /// The addresses, sealed. None where there are none, or where it fails, as without random bytes: then the entry
    /// has none of it rather than all of it in clear.
    pub(crate) fn seal(&self, addresses: &BTreeMap<&'static str, Value>) -> Option<Value> {
        if addresses.is_empty() {
            return None;
        }
        let sealed = || {
            let content = Zeroizing::new(serde_json::to_vec(addresses).ok()?);
            let mut header = Map::new();
            header.insert("cty".to_owned(), TYPE.into());
            let jwe = jwe::encrypt(&[&content], &self.recipients, &header).ok()?;
            serde_json::to_value(&jwe).ok()
        };
        let sealed = sealed();
        if sealed.is_none() {
            tracing::error!("An entry of the audit log lacks its addresses: they cannot be sealed");
        }
        sealed
    }
}
