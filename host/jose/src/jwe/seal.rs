//! Sealing.

use ring::aead::{Aad, Nonce};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::SystemRandom;
use serde_json::Map;
use serde_json::Value;

use super::keys::{CEK_BYTES, content_key, key_encryption_key};
use super::message::{ENC, Form, IV_BYTES, Jwe, MAX_RECIPIENTS, Recipient, TAG_BYTES, malformed};
use crate::jwk::{ALG, Point, PublicKey};
use crate::{Error, aes_kw, b64, jcs, random};

/// Header members that this module sets itself, or that would change how a reader treats the message.
const RESERVED: [&str; 17] = [
    "alg", "apu", "apv", "b64", "crit", "enc", "epk", "iv", "jku", "jwk", "kid", "p2c", "p2s",
    "tag", "x5c", "x5u", "zip",
];

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
