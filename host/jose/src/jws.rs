//! Signatures: JWS (RFC 7515) in compact form, ES256, and EdDSA with Ed25519 (RFC 8037).
//!
//! The key decides the algorithm, never the message. A header's own `jwk` is not looked at when
//! verifying: whoever wants to use it (a receipt names its key so) takes it from [`peek_header`] and
//! proves by other means whose it is.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Map, Value, json};

use crate::jwk::{
    self, check_usage, coordinate, key_error, object, pem_document, sec1_point, text,
};
use crate::{Error, b64, jcs, json};

/// What a verified JWS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The protected header, all of it covered by the signature.
    pub header: Map<String, Value>,
    /// The payload bytes.
    pub payload: Vec<u8>,
}

/// A private key that signs with ES256 (ECDSA on P-256 with SHA-256).
pub struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    x: String,
    y: String,
}

impl SigningKey {
    /// A new key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when there are no random bytes.
    pub fn generate() -> Result<Self, Error> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| Error::Crypto("no ES256 key could be generated"))?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Reads a PKCS#8 key for P-256 in DER, with its public key inside (RFC 5915).
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when it is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
            .map_err(|_| key_error("it is not a PKCS#8 private key for P-256"))?;
        let (x, y) = match pair.public_key().as_ref().split_at_checked(33) {
            Some((x, y)) => (b64::encode(x.get(1..).unwrap_or_default()), b64::encode(y)),
            None => return Err(Error::Crypto("a public key has an unexpected length")),
        };
        Ok(Self { pair, random, x, y })
    }

    /// The public part as a JWK: `kty`, `crv`, `x`, `y`.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": self.x, "y": self.y})
    }

    /// RFC 7638 thumbprint of the public part, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        jwk::ec_thumbprint(&self.x, &self.y)
    }

    /// Signs a payload. The header is `alg` and the given members, in canonical JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when a given member is `alg`, `crit` or `b64`, which are not the caller's
    /// to set; [`Error::Crypto`] when there are no random bytes.
    pub fn sign_compact(
        &self,
        header_extra: &Map<String, Value>,
        payload: &[u8],
    ) -> Result<String, Error> {
        let input = signing_input("ES256", header_extra, payload)?;
        let signature = self
            .pair
            .sign(&self.random, input.as_bytes())
            .map_err(|_| Error::Crypto("signing failed for want of random bytes"))?;
        Ok(format!("{input}.{}", b64::encode(signature.as_ref())))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(ES256 {})", self.thumbprint())
    }
}

/// A private key that signs with EdDSA on Ed25519: the key of a key broker's administrator.
pub struct EdDsaSigningKey {
    pair: Ed25519KeyPair,
    x: String,
}

impl EdDsaSigningKey {
    /// A new key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when there are no random bytes.
    pub fn generate() -> Result<Self, Error> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| Error::Crypto("no Ed25519 key could be generated"))?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Reads a PKCS#8 key for Ed25519 in DER (RFC 8410), with or without its public key inside.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when it is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        // "Maybe unchecked" takes the form without a public key too, which is what OpenSSL writes;
        // when one is there, it is checked.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map_err(|_| key_error("it is not a PKCS#8 private key for Ed25519"))?;
        let x = b64::encode(pair.public_key().as_ref());
        Ok(Self { pair, x })
    }

    /// Reads a PKCS#8 key for Ed25519 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when it is no such key.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, Error> {
        Self::from_pkcs8(pem_document(pem)?.as_bytes())
    }

    /// The public part as a JWK: `kty`, `crv`, `x`.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": self.x})
    }

    /// RFC 7638 thumbprint of the public part, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        jwk::okp_thumbprint("Ed25519", &self.x)
    }

    /// Signs a payload. The header is `alg` and the given members, in canonical JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] as for [`SigningKey::sign_compact`].
    pub fn sign_compact(
        &self,
        header_extra: &Map<String, Value>,
        payload: &[u8],
    ) -> Result<String, Error> {
        let input = signing_input("EdDSA", header_extra, payload)?;
        let signature = self.pair.sign(input.as_bytes());
        Ok(format!("{input}.{}", b64::encode(signature.as_ref())))
    }
}

impl fmt::Debug for EdDsaSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EdDsaSigningKey({})", self.thumbprint())
    }
}

/// A public key that verifies ES256 or EdDSA, whichever its kind is for.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    /// SEC1 uncompressed for ES256, 32 bytes for EdDSA.
    bytes: Vec<u8>,
    thumbprint: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Es256,
    EdDsa,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl VerifyingKey {
    /// Reads a public JWK: EC on P-256, or OKP on Ed25519.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when the key is private, of another kind, restricted to another use by `use`,
    /// `key_ops` or `alg`, or not a point of its curve; [`Error::Base64`] for a coordinate that is not
    /// base64url.
    pub fn from_jwk(jwk: &Value) -> Result<Self, Error> {
        let members = object(jwk)?;
        if members.contains_key("d") {
            return Err(key_error("it is a private JWK; give its public part only"));
        }
        match (text(members, "kty")?, text(members, "crv")?) {
            ("EC", "P-256") => {
                check_usage(members, "sig", &["verify"], "ES256")?;
                let (x, y) = (coordinate(members, "x")?, coordinate(members, "y")?);
                let sec1 = sec1_point(&x, &y);
                p256::PublicKey::from_sec1_bytes(&sec1)
                    .map_err(|_| key_error("the point is not on the curve P-256"))?;
                Ok(Self {
                    algorithm: Algorithm::Es256,
                    bytes: sec1.to_vec(),
                    thumbprint: jwk::ec_thumbprint(&b64::encode(&x), &b64::encode(&y)),
                })
            }
            ("OKP", "Ed25519") => {
                check_usage(members, "sig", &["verify"], "EdDSA")?;
                let x = coordinate(members, "x")?;
                Ok(Self {
                    algorithm: Algorithm::EdDsa,
                    bytes: x.to_vec(),
                    thumbprint: jwk::okp_thumbprint("Ed25519", &b64::encode(&x)),
                })
            }
            (kty, crv) => Err(Error::Key(format!(
                "kty {kty:?} with crv {crv:?} is not taken; use EC with P-256 or OKP with Ed25519"
            ))),
        }
    }

    /// RFC 7638 thumbprint, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Verifies a JWS in compact form.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Base64`] or [`Error::Json`] when it is not a compact JWS, or when
    /// its header has `crit` or `b64`; [`Error::UnsupportedAlgorithm`] when `alg` is not this key's;
    /// [`Error::Signature`] when the signature does not verify.
    pub fn verify_compact(&self, jws: &str) -> Result<Verified, Error> {
        let parts = Parts::split(jws)?;
        let header = parts.header()?;
        for name in ["crit", "b64"] {
            if header.contains_key(name) {
                return Err(malformed(format!(
                    "its header has {name:?}, which is not understood"
                )));
            }
        }
        let found = header
            .get("alg")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if found != self.algorithm.name() {
            return Err(Error::UnsupportedAlgorithm {
                what: "alg",
                found: found.to_owned(),
                expected: self.algorithm.name(),
            });
        }
        let signature = b64::decode_as(parts.signature, "the signature of the JWS")?;
        let input = parts.input.as_bytes();
        match self.algorithm {
            Algorithm::Es256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes)
                .verify(input, &signature),
            Algorithm::EdDsa => {
                UnparsedPublicKey::new(&ED25519, &self.bytes).verify(input, &signature)
            }
        }
        .map_err(|_| Error::Signature {
            thumbprint: self.thumbprint.clone(),
        })?;
        Ok(Verified {
            header,
            payload: b64::decode_as(parts.payload, "the payload of the JWS")?,
        })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VerifyingKey({} {})",
            self.algorithm.name(),
            self.thumbprint
        )
    }
}

/// Reads the header of a compact JWS **without verifying anything**. For choosing the key to verify
/// with, and for nothing else.
///
/// # Errors
///
/// [`Error::Malformed`], [`Error::Base64`] or [`Error::Json`] when it is not a compact JWS.
pub fn peek_header(jws: &str) -> Result<Map<String, Value>, Error> {
    Parts::split(jws)?.header()
}

struct Parts<'a> {
    /// Header and payload with the dot between them: what is signed.
    input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(jws: &'a str) -> Result<Self, Error> {
        let parts = jws.rsplit_once('.').and_then(|(input, signature)| {
            let (header, payload) = input.split_once('.')?;
            (!payload.contains('.')).then_some(Self {
                input,
                header,
                payload,
                signature,
            })
        });
        parts.ok_or_else(|| malformed("the compact form has three parts".to_owned()))
    }

    fn header(&self) -> Result<Map<String, Value>, Error> {
        let bytes = b64::decode_as(self.header, "the header of the JWS")?;
        json::object_as(&bytes, "the header of the JWS")
    }
}

fn signing_input(
    alg: &str,
    header_extra: &Map<String, Value>,
    payload: &[u8],
) -> Result<String, Error> {
    let mut header = header_extra.clone();
    for name in ["alg", "crit", "b64"] {
        if header.contains_key(name) {
            return Err(malformed(format!(
                "the header member {name:?} is not the caller's to set"
            )));
        }
    }
    header.insert("alg".to_owned(), alg.into());
    let header = jcs::to_string(&header)?;
    Ok(format!(
        "{}.{}",
        b64::encode(header.as_bytes()),
        b64::encode(payload)
    ))
}

fn malformed(reason: String) -> Error {
    Error::Malformed {
        what: "JWS",
        reason,
    }
}
