//! Encryption: JWE (RFC 7516) with ECDH-ES+A256KW (RFC 7518 section 4.6) and A256GCM.
//!
//! One form is made and the same form is opened, whatever a message asks for: the key of the reader
//! fixes the curve, and `alg`, `enc`, `zip` and `crit` of a message can only make it be refused. The
//! responses of a key broker are JWEs of this form too, sealed to the TEE key of the handshake.
//!
//! The additional data of the content encryption is the `protected` text **as received**. A header that
//! is decoded and written again may come out differently, and then a good message fails or, worse, two
//! readers disagree about what was authenticated.
//!
//! `unprotected` and per-recipient headers are not authenticated. They carry what an attacker gains
//! nothing by changing: the ephemeral key and `kid`. Nothing else is read from them, and
//! [`Decrypted`] gives the protected header only.

mod wire;

use std::fmt;
use std::str::FromStr;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::jwk::{ALG, Point, PrivateKey, PublicKey};
use crate::{Error, aes_kw, b64, concat_kdf, jcs, json, random};

/// The one content encryption.
const ENC: &str = "A256GCM";
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const CEK_BYTES: usize = 32;
/// A JWE with more recipients is refused: each may cost its reader a key agreement.
pub const MAX_RECIPIENTS: usize = 64;

/// Header members that this module sets itself, or that would change how a reader treats the message.
const RESERVED: [&str; 17] = [
    "alg", "apu", "apv", "b64", "crit", "enc", "epk", "iv", "jku", "jwk", "kid", "p2c", "p2s",
    "tag", "x5c", "x5u", "zip",
];

/// A JWE, structurally sound: it has a protected header, and every part is decoded and has the size that
/// A256GCM gives it.
///
/// With serde it is the JSON serialization, flattened or general (RFC 7516 section 7.2), and it is
/// written in the form that it was read in. With [`FromStr`] the compact serialization is taken too.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "wire::Wire", into = "wire::Wire")]
pub struct Jwe {
    /// The text of the protected header, as received.
    protected: String,
    /// What it says.
    header: Map<String, Value>,
    unprotected: Option<Map<String, Value>>,
    recipients: Vec<Recipient>,
    form: Form,
    /// The text of the `aad` member, as received.
    aad: Option<String>,
    iv: [u8; IV_BYTES],
    ciphertext: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

#[derive(Clone, PartialEq, Eq)]
struct Recipient {
    header: Option<Map<String, Value>>,
    encrypted_key: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Flattened,
    General,
}

/// A recipient with its JOSE header.
type Joined<'a> = (Map<String, Value>, &'a Recipient);

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

/// Seals content to recipients, each of whom can open it alone.
///
/// The content is the given pieces in a row, so that a caller who frames it needs no copy in clear.
///
/// One recipient gives the flattened form with everything in the protected header: `alg`, `enc`, `epk`,
/// `kid` and the given members. Several give the general form, with `epk` and `kid` in the header of each
/// recipient. `kid` is the RFC 7638 thumbprint of the recipient's key. Content key, nonce and ephemeral
/// keys are new for every call. Headers are public: whatever is secret belongs into the content.
///
/// # Errors
///
/// [`Error::Malformed`] without recipients, with more than [`MAX_RECIPIENTS`], with one listed twice,
/// or when `extra_protected` sets a member that is not the caller's to set; [`Error::Crypto`] when
/// there are no random bytes.
pub fn encrypt(
    content: &[&[u8]],
    recipients: &[PublicKey],
    extra_protected: &Map<String, Value>,
) -> Result<Jwe, Error> {
    check_recipients(recipients)?;
    if let Some(name) = RESERVED
        .iter()
        .find(|name| extra_protected.contains_key(**name))
    {
        return Err(malformed(format!(
            "the header member {name:?} is not the caller's to set"
        )));
    }
    let cek = random::secret::<CEK_BYTES>()?;
    let mut header = extra_protected.clone();
    header.insert("alg".to_owned(), ALG.into());
    header.insert("enc".to_owned(), ENC.into());
    let mut wrapped = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let (epk, encrypted_key) = wrap_for(recipient, &cek)?;
        let mut own = Map::new();
        own.insert("epk".to_owned(), epk.to_jwk());
        own.insert("kid".to_owned(), recipient.thumbprint().into());
        wrapped.push(Recipient {
            header: Some(own),
            encrypted_key,
        });
    }
    let form = if wrapped.len() == 1 {
        Form::Flattened
    } else {
        Form::General
    };
    if form == Form::Flattened {
        for recipient in &mut wrapped {
            header.extend(recipient.header.take().unwrap_or_default());
        }
    }
    let protected = b64::encode(jcs::to_string(&header)?.as_bytes());
    let iv = *random::secret::<IV_BYTES>()?;
    // Room for the tag, so that growing leaves no copy of the plaintext behind.
    let length: usize = content.iter().map(|piece| piece.len()).sum();
    let mut sealed = Vec::with_capacity(length + TAG_BYTES);
    for piece in content {
        sealed.extend_from_slice(piece);
    }
    let tag = content_key(cek.as_ref())?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(iv),
            Aad::from(protected.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| Error::Crypto("the content is too long for AES-GCM"))?;
    let tag = tag
        .as_ref()
        .try_into()
        .map_err(|_| Error::Crypto("AES-GCM gave an odd tag"))?;
    Ok(Jwe {
        protected,
        header,
        unprotected: None,
        recipients: wrapped,
        form,
        aad: None,
        iv,
        ciphertext: sealed,
        tag,
    })
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
    fn joined_headers(&self) -> Result<Vec<Joined<'_>>, Error> {
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

impl FromStr for Jwe {
    type Err = Error;

    /// Reads a JWE from its JSON or its compact serialization. A text that starts with `{` is JSON.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.trim_start().starts_with('{') {
            let value = json::value_as(text.as_bytes(), "the JWE")?;
            return serde_json::from_value(value).map_err(|error| malformed(error.to_string()));
        }
        wire::Wire::from_compact(text)?.try_into()
    }
}

/// Wraps the content key for one recipient under a new ephemeral key.
fn wrap_for(recipient: &PublicKey, cek: &[u8; CEK_BYTES]) -> Result<(PublicKey, Vec<u8>), Error> {
    let (algorithm, bytes): (_, &[u8]) = match recipient.point() {
        Point::P256(sec1) => (&agreement::ECDH_P256, sec1),
        Point::X25519(u) => (&agreement::X25519, u),
    };
    let failed = |_| Error::Crypto("key agreement with a recipient failed");
    let ephemeral =
        EphemeralPrivateKey::generate(algorithm, &SystemRandom::new()).map_err(failed)?;
    let public = ephemeral.compute_public_key().map_err(failed)?;
    let epk = PublicKey::from_own_point(recipient, public.as_ref())?;
    let peer = UnparsedPublicKey::new(algorithm, bytes);
    let kek = agreement::agree_ephemeral(ephemeral, &peer, |z| key_encryption_key(z, b"", b""))
        .map_err(failed)??;
    Ok((epk, aes_kw::wrap(&kek, cek)?))
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

fn key_encryption_key(z: &[u8], apu: &[u8], apv: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
    let derived = concat_kdf(z, ALG, apu, apv, 32)?;
    let mut kek = Zeroizing::new([0_u8; 32]);
    kek.copy_from_slice(&derived);
    Ok(kek)
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

fn content_key(cek: &[u8]) -> Result<LessSafeKey, Error> {
    let key = UnboundKey::new(&AES_256_GCM, cek)
        .map_err(|_| Error::Crypto("the content key has an unexpected length"))?;
    Ok(LessSafeKey::new(key))
}

fn check_recipients(recipients: &[PublicKey]) -> Result<(), Error> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        return Err(malformed(format!(
            "it would have {} recipients; give 1 to {MAX_RECIPIENTS}",
            recipients.len()
        )));
    }
    let twice = recipients
        .iter()
        .enumerate()
        .find(|(i, key)| recipients.iter().skip(i + 1).any(|other| other == *key));
    match twice {
        Some((_, key)) => Err(malformed(format!(
            "the recipient {} is listed twice",
            key.thumbprint()
        ))),
        None => Ok(()),
    }
}

fn malformed(reason: String) -> Error {
    Error::Malformed {
        what: "JWE",
        reason,
    }
}
