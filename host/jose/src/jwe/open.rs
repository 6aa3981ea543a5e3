//! Opening.

use std::fmt;

use ring::aead::{Aad, Nonce};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::keys::{CEK_BYTES, content_key, key_encryption_key};
use super::message::{Jwe, malformed};
use crate::jwk::{ALG, PrivateKey, PublicKey};
use crate::{Error, aes_kw, b64};

/// What a JWE held.
pub struct Decrypted {
    /// The content, wiped when dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The protected header: all that the content encryption authenticated besides the content.
    pub protected: Map<String, Value>,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Decrypted({} bytes, {:?})",
            self.plaintext.len(),
            self.protected
        )
    }
}

impl Jwe {
    /// Opens the message with a private key.
    ///
    /// The recipient whose `kid` names the key is tried; when none does, every recipient with a key
    /// agreement on the key's curve is, since `kid` is only a hint (RFC 7516 section 4.1.6).
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedAlgorithm`] for another `enc`; [`Error::Malformed`] for `crit`, `zip`, and a
    /// header member that stands in two places; [`Error::NotForThisKey`] when no recipient opens with
    /// this key; [`Error::Decryption`] when the content was changed. When there is one recipient only,
    /// [`Error::UnsupportedAlgorithm`] for another `alg`, and [`Error::Key`] for an ephemeral key that
    /// is not a good point.
    pub fn decrypt(&self, key: &PrivateKey) -> Result<Decrypted, Error> {
        let joined = self.joined_headers()?;
        let named = |header: &Map<String, Value>| {
            header
                .get("kid")
                .and_then(Value::as_str)
                .is_some_and(|kid| key.is_named(kid))
        };
        let only_named = joined.iter().any(|(header, _)| named(header));
        let mut failure = None;
        for (header, recipient) in joined
            .iter()
            .filter(|(header, _)| !only_named || named(header))
        {
            match unwrap_with(key, header, &recipient.encrypted_key) {
                Ok(cek) => return self.open(&cek),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            // With one candidate its failure tells what is wrong. Of several, most are others' and
            // fail here because they are.
            Some(error) if error != Error::Unwrap && (only_named || joined.len() == 1) => {
                Err(error)
            }
            _ => Err(Error::NotForThisKey {
                thumbprint: key.public().thumbprint(),
            }),
        }
    }

    fn open(&self, cek: &[u8]) -> Result<Decrypted, Error> {
        let aad = match &self.aad {
            Some(aad) => format!("{}.{aad}", self.protected),
            None => self.protected.clone(),
        };
        let mut content =
            Zeroizing::new(Vec::with_capacity(self.ciphertext.len() + self.tag.len()));
        content.extend_from_slice(&self.ciphertext);
        content.extend_from_slice(&self.tag);
        content_key(cek)?
            .open_in_place(
                Nonce::assume_unique_for_key(self.iv),
                Aad::from(aad.as_bytes()),
                content.as_mut_slice(),
            )
            .map_err(|_| Error::Decryption)?;
        content.truncate(self.ciphertext.len());
        Ok(Decrypted {
            plaintext: content,
            protected: self.header.clone(),
        })
    }
}

/// Recovers the content key, if the recipient's header fits the key.
fn unwrap_with(
    key: &PrivateKey,
    header: &Map<String, Value>,
    encrypted_key: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    check_alg(header)?;
    let Some(Value::Object(epk)) = header.get("epk") else {
        return Err(malformed("its header has no `epk` object".to_owned()));
    };
    let z = key.agree(&PublicKey::from_members(epk)?)?;
    let (apu, apv) = (party(header, "apu")?, party(header, "apv")?);
    let cek = aes_kw::unwrap(&*key_encryption_key(z.as_ref(), &apu, &apv)?, encrypted_key)?;
    if cek.len() != CEK_BYTES {
        return Err(malformed(
            "its content key is not one of A256GCM".to_owned(),
        ));
    }
    Ok(cek)
}

fn check_alg(header: &Map<String, Value>) -> Result<(), Error> {
    match header
        .get("alg")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        ALG => Ok(()),
        found => Err(Error::UnsupportedAlgorithm {
            what: "alg",
            found: found.to_owned(),
            expected: ALG,
        }),
    }
}

/// `apu` or `apv`: empty when absent (RFC 7518 section 4.6.2).
fn party(header: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, Error> {
    match header.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => b64::decode_as(text, name),
        Some(_) => Err(malformed(format!(
            "the header member {name:?} is not a string"
        ))),
    }
}
