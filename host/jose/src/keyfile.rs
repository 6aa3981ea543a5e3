//! Key files as people have them.
//!
//! A key for results comes from `proplet keygen`, from another JOSE tool, from OpenSSL, or by mistake: an
//! SSH key, a certificate, the key of an image. What can be meant is read. What cannot is refused by what
//! it is, with what to do, because "not JSON" helps nobody who gave a PEM file.
//!
//! Read are: a JWK, and a JWK Set, with a byte order mark or without; PKCS#8 (private) and
//! SubjectPublicKeyInfo (public) in PEM, with text around it. `alg` may be any of the ECDH-ES family, as
//! tools write it that do not know how the key will be used: the key agreement is the same.

use p256::pkcs8::der::Decode as _;
use p256::pkcs8::spki::{DecodePublicKey as _, SubjectPublicKeyInfoRef};
use p256::pkcs8::{Document, ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::jwk::{PrivateKey, PublicKey};
use crate::{Error, json};

/// Members of JWKs that are private (RFC 7518 section 6, RFC 8037 section 2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "k", "p", "q", "dp", "dq", "qi", "oth"];

/// Bytes of the key of an image.
const IMAGE_KEY_BYTES: usize = 32;

/// Why a key file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file is recognised, and is of no use here.
    #[error("this is {found}: {advice}")]
    Other {
        /// What the file holds.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file has the right form, and the key in it is not good.
    #[error(transparent)]
    Key(#[from] Error),
}

const MAKE_ONE: &str =
    "results are sealed to P-256 and X25519 keys; make one with `proplet keygen`";
const GIVE_PRIVATE: &str = "give the private key that belongs to it";
const GIVE_PUBLIC: &str =
    "give its public part only, and keep the private one where nobody else reads it";

/// Reads the one private key of a file. The caller wipes the bytes.
///
/// # Errors
/// [`KeyFileError`] for anything but one private key for P-256 or X25519.
pub fn private_key(bytes: &[u8]) -> Result<PrivateKey, KeyFileError> {
    let text = text(bytes)?;
    if text.starts_with('{') || text.starts_with('[') {
        let mut value = json::value(text.as_bytes())?;
        let key = private_of(&mut value);
        wipe(&mut value);
        return key;
    }
    let block = pem_block(text)?;
    match block.label {
        "PRIVATE KEY" => private_of_pkcs8(block.text),
        label => Err(other_pem(label, block.text, true)),
    }
}

/// Reads the public keys of a file: one, or those of a JWK Set in its order.
///
/// # Errors
/// [`KeyFileError`] for anything but public keys for P-256 or X25519; a private key above all.
pub fn public_keys(bytes: &[u8]) -> Result<Vec<PublicKey>, KeyFileError> {
    let text = text(bytes)?;
    if text.starts_with('{') || text.starts_with('[') {
        let mut value = json::value(text.as_bytes())?;
        let keys = publics_of(&mut value);
        wipe(&mut value);
        return keys;
    }
    let block = pem_block(text)?;
    match block.label {
        "PUBLIC KEY" => Ok(vec![public_of_spki(block.text)?]),
        label => Err(other_pem(label, block.text, false)),
    }
}

/// The text of a key file, without a byte order mark and white space around it.
fn text(bytes: &[u8]) -> Result<&str, KeyFileError> {
    // One key of an image in 32768 begins so too, and a text with a key in it is longer.
    let is_marked = matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
    if is_marked && bytes.len() != IMAGE_KEY_BYTES {
        let advice = "save the file as UTF-8";
        return Err(other("UTF-16 text, as PowerShell writes it", advice));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).ok().map(str::trim);
    match text {
        Some("") => Err(other("an empty file", MAKE_ONE)),
        Some(text) if bytes.len() != IMAGE_KEY_BYTES || text.starts_with('{') => recognized(text),
        _ => Err(other_bytes(bytes)),
    }
}

/// Passes on what may be JSON or PEM.
fn recognized(text: &str) -> Result<&str, KeyFileError> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let found = if starts(&["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]) {
        "an OpenSSH public key, which is for signatures"
    } else if starts(&["age1", "AGE-SECRET-KEY-", "# created:"]) {
        "a key for age"
    } else if starts(&["PuTTY-User-Key-File"]) {
        "a PuTTY key, which is for signatures"
    } else if starts(&["eyJ"]) {
        "a token (a JWS or JWE in compact form)"
    } else if text.starts_with(['{', '[']) || text.contains("-----BEGIN ") {
        return Ok(text);
    } else {
        "neither a JWK nor PEM"
    };
    Err(other(found, MAKE_ONE))
}

fn other_bytes(bytes: &[u8]) -> KeyFileError {
    match bytes {
        [0x30, ..] if bytes.len() != IMAGE_KEY_BYTES => other(
            "binary DER",
            "convert it to PEM, with `openssl pkey -inform DER` (`-pubin` for a public key)",
        ),
        _ if bytes.len() == IMAGE_KEY_BYTES => other(
            "32 bytes without any form, as the key of an image has it",
            "that opens images, not results; give the recipient's key",
        ),
        _ => other("neither a JWK nor PEM", MAKE_ONE),
    }
}

struct PemBlock<'a> {
    label: &'a str,
    text: &'a str,
}

/// The one block of PEM that matters. OpenSSL writes text around blocks, and curve parameters before keys.
fn pem_block(text: &str) -> Result<PemBlock<'_>, KeyFileError> {
    const BEGIN: &str = "-----BEGIN ";
    let mut found: Option<PemBlock<'_>> = None;
    for (start, _) in text.match_indices(BEGIN) {
        let block = text.get(start..).unwrap_or_default();
        let label = block
            .get(BEGIN.len()..)
            .and_then(|rest| rest.split_once("-----"));
        let Some((label, _)) = label else {
            continue;
        };
        if label == "EC PARAMETERS" {
            continue;
        }
        if found.is_some() {
            return Err(other(
                "PEM with several blocks",
                "give the key alone, in a file of its own",
            ));
        }
        let end = format!("-----END {label}-----");
        let text = block.find(&end).and_then(|at| block.get(..at + end.len()));
        let text = text.ok_or_else(|| other("PEM that is cut short", "copy the whole file"))?;
        found = Some(PemBlock { label, text });
    }
    found.ok_or_else(|| other("PEM without a key", MAKE_ONE))
}

/// The refusal of a block that is no key of the wanted half.
fn other_pem(label: &str, block: &str, private: bool) -> KeyFileError {
    let to_pkcs8 = "convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`";
    let (found, advice) = match label {
        "PRIVATE KEY" => match private_of_pkcs8(block) {
            Ok(_) => ("a private key (PKCS#8)", GIVE_PUBLIC),
            Err(error) => return error,
        },
        "PUBLIC KEY" => match public_of_spki(block) {
            Ok(_) => ("a public key", GIVE_PRIVATE),
            Err(error) => return error,
        },
        "EC PRIVATE KEY" if private => ("a private key in the older form of SEC 1", to_pkcs8),
        "EC PRIVATE KEY" => ("a private key", GIVE_PUBLIC),
        "ENCRYPTED PRIVATE KEY" if private => (
            "a private key under a passphrase",
            "take the passphrase off with `openssl pkcs8 -in FILE -out NEW`, or keep the key elsewhere",
        ),
        "ENCRYPTED PRIVATE KEY" => ("a private key under a passphrase", GIVE_PUBLIC),
        "RSA PRIVATE KEY" | "RSA PUBLIC KEY" => ("an RSA key", MAKE_ONE),
        "DSA PRIVATE KEY" => ("a DSA key", MAKE_ONE),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" if private => {
            ("a certificate, which holds a public key", GIVE_PRIVATE)
        }
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => (
            "a certificate",
            "give the public key in it: `openssl x509 -in FILE -pubkey -noout`",
        ),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => ("a certificate request", MAKE_ONE),
        "OPENSSH PRIVATE KEY" => ("an OpenSSH private key, which is for signatures", MAKE_ONE),
        "PGP PUBLIC KEY BLOCK" | "PGP PRIVATE KEY BLOCK" => ("an OpenPGP key", MAKE_ONE),
        _ => ("PEM of another kind than a key", MAKE_ONE),
    };
    other(found, advice)
}

fn private_of_pkcs8(block: &str) -> Result<PrivateKey, KeyFileError> {
    let refused = match PrivateKey::from_pkcs8_pem(block) {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let document = SecretDocument::from_pem(block).ok();
    let info = document
        .as_ref()
        .and_then(|(_, document)| document.decode_msg::<PrivateKeyInfo<'_>>().ok());
    let Some(info) = info else {
        return Err(refused.into());
    };
    let curve = info.algorithm.parameters_oid().ok();
    Err(other_algorithm(info.algorithm.oid, curve).unwrap_or(KeyFileError::Key(refused)))
}

fn public_of_spki(block: &str) -> Result<PublicKey, KeyFileError> {
    const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
    let unreadable = || Error::Key("the PEM block does not hold a public key".to_owned());
    let (_, document) = Document::from_pem(block).map_err(|_| unreadable())?;
    let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(|_| unreadable())?;
    let curve = info.algorithm.parameters_oid().ok();
    if let Some(other) = other_algorithm(info.algorithm.oid, curve) {
        return Err(other);
    }
    if info.algorithm.oid == X25519 {
        let u = info.subject_public_key.as_bytes().ok_or_else(unreadable)?;
        return Ok(PublicKey::from_x25519(u)?);
    }
    let key =
        p256::PublicKey::from_public_key_der(document.as_bytes()).map_err(|_| unreadable())?;
    Ok(PublicKey::from_p256(&key))
}

/// The refusal of an algorithm that is known and not taken.
fn other_algorithm(oid: ObjectIdentifier, curve: Option<ObjectIdentifier>) -> Option<KeyFileError> {
    let found = match (
        oid.to_string().as_str(),
        curve.map(|curve| curve.to_string()),
    ) {
        ("1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10", _) => "an RSA key",
        ("1.3.101.112", _) => "an Ed25519 key, which is for signatures",
        ("1.3.101.113", _) => "an Ed448 key, which is for signatures",
        ("1.3.101.111", _) => "an X448 key",
        ("1.2.840.10045.2.1", Some(curve)) => match curve.as_str() {
            "1.2.840.10045.3.1.7" => return None,
            "1.3.132.0.34" => "a P-384 key",
            "1.3.132.0.35" => "a P-521 key",
            "1.3.132.0.10" => "a secp256k1 key",
            _ => "an elliptic-curve key on another curve",
        },
        _ => return None,
    };
    Some(other(found, MAKE_ONE))
}

fn private_of(value: &mut Value) -> Result<PrivateKey, KeyFileError> {
    let single = match value.get_mut("keys").and_then(Value::as_array_mut) {
        None => value,
        Some(keys) => match keys.as_mut_slice() {
            [only] => only,
            [] => return Err(other("an empty JWK Set", MAKE_ONE)),
            _ => {
                return Err(other(
                    "a JWK Set with several keys",
                    "give the one private key to open with, in a file of its own",
                ));
            }
        },
    };
    let members = jwk(single)?;
    if !members.contains_key("d") {
        return Err(other("a public key (a JWK without `d`)", GIVE_PRIVATE));
    }
    Ok(PrivateKey::from_jwk(single)?)
}

fn publics_of(value: &mut Value) -> Result<Vec<PublicKey>, KeyFileError> {
    let check = |key: &mut Value| {
        let members = jwk(key)?;
        if members.contains_key("d") {
            return Err(other("a private key (a JWK with `d`)", GIVE_PUBLIC));
        }
        Ok(())
    };
    match value.get_mut("keys").and_then(Value::as_array_mut) {
        Some(keys) => keys.iter_mut().try_for_each(check)?,
        None => check(value)?,
    }
    Ok(PublicKey::from_jwk_set(value)?)
}

/// A JWK of a kind that is taken, with an `alg` of the ECDH-ES family forgotten.
fn jwk(value: &mut Value) -> Result<&Map<String, Value>, KeyFileError> {
    let Some(members) = value.as_object_mut() else {
        return Err(other("JSON, but not a JWK", MAKE_ONE));
    };
    let text = |name: &str| {
        members
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let found = match (text("kty"), text("crv")) {
        ("EC", "P-256") | ("OKP", "X25519") => None,
        ("RSA", _) => Some("an RSA key".to_owned()),
        ("oct", _) => Some("a symmetric key (a JWK of kty `oct`)".to_owned()),
        ("OKP", "Ed25519" | "Ed448") => Some("a key for signatures (EdDSA)".to_owned()),
        ("EC", crv @ ("P-384" | "P-521" | "secp256k1")) => Some(format!("a {crv} key")),
        ("", _) if !members.contains_key("kty") => Some("JSON, but not a JWK".to_owned()),
        _ => Some("a JWK of a kind that is not known here".to_owned()),
    };
    if let Some(found) = found {
        let advice = MAKE_ONE;
        return Err(KeyFileError::Other { found, advice });
    }
    let family = ["ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW"];
    if family.contains(&text("alg")) {
        members.remove("alg");
    }
    Ok(members)
}

/// The parser's copies of private numbers.
fn wipe(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match value {
                    Value::String(text) if PRIVATE_MEMBERS.contains(&name.as_str()) => {
                        text.zeroize();
                    }
                    other => wipe(other),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(wipe),
        _ => {}
    }
}

fn other(found: &str, advice: &'static str) -> KeyFileError {
    let found = found.to_owned();
    KeyFileError::Other { found, advice }
}
