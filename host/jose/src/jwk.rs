//! Keys for opening and sealing: JWK (RFC 7517, RFC 7518 section 6.2, RFC 8037) and PKCS#8.
//!
//! A key is checked when it is parsed, so that whoever holds one need not think about it again:
//! coordinates have exactly 32 bytes, the point is on the curve, an X25519 key is not of small order,
//! private and public parts belong together, and `use`, `key_ops` and `alg`, when present, allow
//! ECDH-ES+A256KW. A public key is never read from a private JWK: private keys do not belong in the
//! places where public ones are written down.

use std::fmt;

use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::{DecodePrivateKey as _, PrivateKeyInfo, SecretDocument};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{Error, b64, random};

/// The one key management algorithm that keys of this module serve.
pub(crate) const ALG: &str = "ECDH-ES+A256KW";

/// A public key to seal to: P-256 or X25519.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Point);

/// The bytes of a public key, as they go on the wire.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Point {
    /// Uncompressed SEC1: 4, x, y.
    P256([u8; 65]),
    /// The u-coordinate, little endian.
    X25519([u8; 32]),
}

impl PublicKey {
    /// Reads a public JWK.
    ///
    /// Members other than `kty`, `crv`, `x`, `y`, `use`, `key_ops` and `alg` are ignored, as RFC 7517
    /// section 4 asks.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when the key is private, of another kind, restricted to another use, or not a
    /// valid point; [`Error::Base64`] for a coordinate that is not base64url.
    pub fn from_jwk(jwk: &Value) -> Result<Self, Error> {
        let members = object(jwk)?;
        check_usage(members, "enc", &["deriveKey", "deriveBits", "wrapKey"], ALG)?;
        Self::from_members(members)
    }

    /// Reads a JWK Set (RFC 7517 section 5), or one bare JWK, in the order given.
    ///
    /// Strict where the RFC lets a reader skip keys that it does not know: whoever lists a recipient
    /// means it, and would learn too late that it was passed over.
    ///
    /// # Errors
    ///
    /// As [`PublicKey::from_jwk`] for any key; [`Error::Key`] for an empty set, for two keys with one
    /// `kid`, and for a key listed twice.
    pub fn from_jwk_set(set: &Value) -> Result<Vec<Self>, Error> {
        let Some(list) = set.get("keys") else {
            return Ok(vec![Self::from_jwk(set)?]);
        };
        let list = list
            .as_array()
            .ok_or_else(|| key_error("`keys` is not an array"))?;
        if list.is_empty() {
            return Err(key_error("the key set is empty; list one key at least"));
        }
        let mut keys: Vec<Self> = Vec::with_capacity(list.len());
        let mut kids: Vec<&Value> = Vec::new();
        for jwk in list {
            let key = Self::from_jwk(jwk)?;
            if keys.contains(&key) {
                return Err(Error::Key(format!(
                    "the key set lists {} twice",
                    key.thumbprint()
                )));
            }
            if let Some(kid) = jwk.get("kid") {
                if kids.contains(&kid) {
                    return Err(key_error("two keys of the set have the same `kid`"));
                }
                kids.push(kid);
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// The key as a JWK with the members `kty`, `crv`, `x` and, for P-256, `y`; nothing else.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        match self.coordinates() {
            (x, Some(y)) => json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}),
            (x, None) => json!({"kty": "OKP", "crv": "X25519", "x": x}),
        }
    }

    /// RFC 7638 thumbprint with SHA-256, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        match self.coordinates() {
            (x, Some(y)) => ec_thumbprint(&x, &y),
            (x, None) => okp_thumbprint("X25519", &x),
        }
    }

    /// The curve as JWK names it: `P-256` or `X25519`.
    #[must_use]
    pub fn curve(&self) -> &'static str {
        match self.0 {
            Point::P256(_) => "P-256",
            Point::X25519(_) => "X25519",
        }
    }

    pub(crate) fn point(&self) -> &Point {
        &self.0
    }

    /// A key that was read from another form than a JWK.
    pub(crate) fn from_p256(key: &p256::PublicKey) -> Self {
        let mut sec1 = [0_u8; 65];
        sec1.copy_from_slice(key.to_encoded_point(false).as_bytes());
        Self(Point::P256(sec1))
    }

    /// The u-coordinate of a key that was read from another form than a JWK.
    pub(crate) fn from_x25519(u: &[u8]) -> Result<Self, Error> {
        let u = u
            .try_into()
            .map_err(|_| key_error("an X25519 key has 32 bytes"))?;
        check_order(u)?;
        Ok(Self(Point::X25519(u)))
    }

    /// A key from the bytes of a point that this process computed itself, unchecked beyond its length.
    pub(crate) fn from_own_point(curve_of: &Self, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |_| Error::Crypto("a public key has an unexpected length");
        Ok(Self(match curve_of.0 {
            Point::P256(_) => Point::P256(bytes.try_into().map_err(wrong)?),
            Point::X25519(_) => Point::X25519(bytes.try_into().map_err(wrong)?),
        }))
    }

    /// Reads the key itself, without looking at what it may be used for. For `epk`.
    pub(crate) fn from_members(members: &Map<String, Value>) -> Result<Self, Error> {
        if members.contains_key("d") {
            return Err(key_error(
                "it is a private JWK; give its public part only, and take the private one out of reach",
            ));
        }
        Self::from_public_members(members)
    }

    fn from_public_members(members: &Map<String, Value>) -> Result<Self, Error> {
        match (text(members, "kty")?, text(members, "crv")?) {
            ("EC", "P-256") => {
                let sec1 = sec1_point(&coordinate(members, "x")?, &coordinate(members, "y")?);
                p256::PublicKey::from_sec1_bytes(&sec1)
                    .map_err(|_| key_error("the point is not on the curve P-256"))?;
                Ok(Self(Point::P256(sec1)))
            }
            ("OKP", "X25519") => {
                let u = coordinate(members, "x")?;
                check_order(u)?;
                Ok(Self(Point::X25519(u)))
            }
            (kty, crv) => Err(Error::Key(format!(
                "kty {kty:?} with crv {crv:?} is not taken; use EC with P-256 or OKP with X25519"
            ))),
        }
    }

    fn coordinates(&self) -> (String, Option<String>) {
        match &self.0 {
            Point::P256(sec1) => {
                let (x, y) = sec1.split_at(33);
                (
                    b64::encode(x.get(1..).unwrap_or_default()),
                    Some(b64::encode(y)),
                )
            }
            Point::X25519(u) => (b64::encode(u), None),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.curve(), self.thumbprint())
    }
}

/// A private key to open with: P-256 or X25519. Wiped when dropped.
pub struct PrivateKey {
    secret: Secret,
    public: PublicKey,
    /// `kid` of the JWK, by which a sender may name this key in place of its thumbprint.
    kid: Option<String>,
}

enum Secret {
    P256(p256::SecretKey),
    X25519(x25519_dalek::StaticSecret),
}

impl PrivateKey {
    /// A new P-256 key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when there are no random bytes.
    pub fn generate_p256() -> Result<Self, Error> {
        loop {
            // All but one in 2^32 candidates are below the order of the group.
            let candidate = random::secret::<32>()?;
            if let Ok(secret) = p256::SecretKey::from_slice(candidate.as_ref()) {
                return Ok(Self::from_secret(Secret::P256(secret), None));
            }
        }
    }

    /// A new X25519 key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when there are no random bytes.
    pub fn generate_x25519() -> Result<Self, Error> {
        let secret = x25519_dalek::StaticSecret::from(*random::secret::<32>()?);
        Ok(Self::from_secret(Secret::X25519(secret), None))
    }

    /// Reads a private JWK. The caller wipes the text that it came from.
    ///
    /// # Errors
    ///
    /// As [`PublicKey::from_jwk`]; [`Error::Key`] when `d` is missing, has another length than 32
    /// bytes, is no valid scalar, or does not belong to the public coordinates.
    pub fn from_jwk(jwk: &Value) -> Result<Self, Error> {
        let members = object(jwk)?;
        check_usage(
            members,
            "enc",
            &["deriveKey", "deriveBits", "unwrapKey"],
            ALG,
        )?;
        let public = PublicKey::from_public_members(members)?;
        let d = Zeroizing::new(coordinate(members, "d")?);
        let kid = members
            .get("kid")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let key = Self::from_secret(
            match public.point() {
                Point::P256(_) => Secret::P256(p256_scalar(d.as_ref())?),
                Point::X25519(_) => Secret::X25519((*d).into()),
            },
            kid,
        );
        if key.public != public {
            return Err(key_error("`d` does not belong to the public coordinates"));
        }
        Ok(key)
    }

    /// Reads a PKCS#8 private key in PEM, as `openssl genpkey` writes it for P-256 (RFC 5208, RFC 5915)
    /// and X25519 (RFC 8410).
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when it is no such key.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, Error> {
        let document = pem_document(pem)?;
        let info: PrivateKeyInfo<'_> = document
            .decode_msg()
            .map_err(|_| key_error("the PEM block does not hold a PKCS#8 private key"))?;
        const X25519: p256::pkcs8::ObjectIdentifier =
            p256::pkcs8::ObjectIdentifier::new_unwrap("1.3.101.110");
        if info.algorithm.oid == X25519 {
            // RFC 8410 section 7: the key is an OCTET STRING inside the OCTET STRING of PKCS#8.
            let raw = match info.private_key.split_first_chunk::<2>() {
                Some(([0x04, 0x20], raw)) => raw,
                _ => &[],
            };
            let d: [u8; 32] = raw
                .try_into()
                .map_err(|_| key_error("an X25519 key has 32 bytes"))?;
            let d = Zeroizing::new(d);
            return Ok(Self::from_secret(Secret::X25519((*d).into()), None));
        }
        let secret = p256::SecretKey::from_pkcs8_der(document.as_bytes())
            .map_err(|_| key_error("the PKCS#8 key is neither for P-256 nor for X25519"))?;
        Ok(Self::from_secret(Secret::P256(secret), None))
    }

    /// The key as a private JWK: `crv`, `d`, `kty`, `x` and, for P-256, `y`.
    #[must_use]
    pub fn to_jwk(&self) -> Zeroizing<String> {
        let d = Zeroizing::new(match &self.secret {
            Secret::P256(secret) => Zeroizing::new(<[u8; 32]>::from(secret.to_bytes())),
            Secret::X25519(secret) => Zeroizing::new(secret.to_bytes()),
        });
        let d = Zeroizing::new(b64::encode(d.as_slice()));
        // Formatted by hand, since a JSON value would leave copies of `d` behind.
        let d = d.as_str();
        Zeroizing::new(match self.public.coordinates() {
            (x, Some(y)) => {
                format!(r#"{{"crv":"P-256","d":"{d}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            (x, None) => format!(r#"{{"crv":"X25519","d":"{d}","kty":"OKP","x":"{x}"}}"#),
        })
    }

    /// The public part.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Whether a JWE header with this `kid` means this key.
    pub(crate) fn is_named(&self, kid: &str) -> bool {
        self.kid.as_deref() == Some(kid) || self.public.thumbprint() == kid
    }

    /// The shared secret with an ephemeral key, 32 bytes. RFC 7748 section 6.1 and RFC 8037 section
    /// 3.2.1: an all-zero X25519 output is refused, so that nobody can force a known key.
    pub(crate) fn agree(&self, ephemeral: &PublicKey) -> Result<Zeroizing<[u8; 32]>, Error> {
        match (&self.secret, ephemeral.point()) {
            (Secret::P256(secret), Point::P256(sec1)) => {
                let public = p256::PublicKey::from_sec1_bytes(sec1)
                    .map_err(|_| key_error("the point is not on the curve P-256"))?;
                let scalar = Zeroizing::new(secret.to_nonzero_scalar());
                let shared = p256::ecdh::diffie_hellman(*scalar, public.as_affine());
                Ok(Zeroizing::new((*shared.raw_secret_bytes()).into()))
            }
            (Secret::X25519(secret), Point::X25519(u)) => {
                let shared = secret.diffie_hellman(&(*u).into());
                if !shared.was_contributory() {
                    return Err(key_error("the X25519 key is of small order"));
                }
                Ok(Zeroizing::new(shared.to_bytes()))
            }
            _ => Err(Error::NotForThisKey {
                thumbprint: self.public.thumbprint(),
            }),
        }
    }

    fn from_secret(secret: Secret, kid: Option<String>) -> Self {
        let point = match &secret {
            Secret::P256(secret) => {
                let point = secret.public_key().to_encoded_point(false);
                let mut sec1 = [0_u8; 65];
                sec1.copy_from_slice(point.as_bytes());
                Point::P256(sec1)
            }
            Secret::X25519(secret) => {
                Point::X25519(x25519_dalek::PublicKey::from(secret).to_bytes())
            }
        };
        Self {
            secret,
            public: PublicKey(point),
            kid,
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PrivateKey({} {})",
            self.public.curve(),
            self.public.thumbprint()
        )
    }
}

/// Thumbprint input of an EC key on P-256: the required members in lexicographic order (RFC 7638
/// section 3.2). Coordinates are base64url, so nothing needs escaping.
pub(crate) fn ec_thumbprint(x: &str, y: &str) -> String {
    hash_text(&format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#
    ))
}

/// Thumbprint of an OKP key (RFC 8037 section 2).
pub(crate) fn okp_thumbprint(crv: &str, x: &str) -> String {
    hash_text(&format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#))
}

/// The DER of one PEM block `PRIVATE KEY`.
pub(crate) fn pem_document(pem: &str) -> Result<SecretDocument, Error> {
    let (label, document) = SecretDocument::from_pem(pem).map_err(|_| {
        key_error("the text is not one PEM block; give a PKCS#8 private key in PEM")
    })?;
    if label != "PRIVATE KEY" {
        return Err(key_error(
            "the PEM block is not a `PRIVATE KEY`; convert it with `openssl pkcs8 -topk8 -nocrypt`",
        ));
    }
    Ok(document)
}

/// What `use`, `key_ops` and `alg` say about a key, against one use. RFC 7517 sections 4.2 to 4.4.
///
/// An empty `key_ops` is what exporters write for a public ECDH key, whose private half does all the
/// operations; it is therefore accepted for encryption and refused for signatures.
pub(crate) fn check_usage(
    members: &Map<String, Value>,
    wanted_use: &str,
    operations: &[&str],
    alg: &str,
) -> Result<(), Error> {
    if let Some(found) = members.get("use")
        && found.as_str() != Some(wanted_use)
    {
        return Err(Error::Key(format!(
            "its `use` is {found}, wanted {wanted_use:?}"
        )));
    }
    if let Some(found) = members.get("alg")
        && found.as_str() != Some(alg)
    {
        return Err(Error::Key(format!("its `alg` is {found}, wanted {alg:?}")));
    }
    let Some(found) = members.get("key_ops") else {
        return Ok(());
    };
    let list: Option<Vec<&str>> = found
        .as_array()
        .and_then(|list| list.iter().map(Value::as_str).collect());
    let Some(list) = list else {
        return Err(key_error("its `key_ops` is not an array of strings"));
    };
    let empty_is_fine = list.is_empty() && wanted_use == "enc" && !members.contains_key("d");
    let distinct = list
        .iter()
        .enumerate()
        .all(|(i, op)| !list.iter().skip(i + 1).any(|o| o == op));
    if !distinct || !(empty_is_fine || list.iter().any(|op| operations.contains(op))) {
        return Err(Error::Key(format!(
            "its `key_ops` is {found}, wanted one of {operations:?}"
        )));
    }
    Ok(())
}

/// The members of a JWK.
pub(crate) fn object(jwk: &Value) -> Result<&Map<String, Value>, Error> {
    jwk.as_object()
        .ok_or_else(|| key_error("a JWK is a JSON object"))
}

pub(crate) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Error> {
    members
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::Key(format!("the JWK has no string member {name:?}")))
}

/// A member of exactly 32 bytes. RFC 7518 section 6.2.1.2: leading zeros are not stripped.
pub(crate) fn coordinate(members: &Map<String, Value>, name: &str) -> Result<[u8; 32], Error> {
    let bytes = Zeroizing::new(b64::decode_as(text(members, name)?, "a member of the JWK")?);
    bytes
        .as_slice()
        .try_into()
        .map_err(|_| Error::Key(format!("{name:?} has {} bytes, wanted 32", bytes.len())))
}

pub(crate) fn sec1_point(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut sec1 = [4_u8; 65];
    for (to, from) in sec1.iter_mut().skip(1).zip(x.iter().chain(y)) {
        *to = *from;
    }
    sec1
}

pub(crate) fn key_error(reason: &str) -> Error {
    Error::Key(reason.to_owned())
}

fn p256_scalar(d: &[u8]) -> Result<p256::SecretKey, Error> {
    p256::SecretKey::from_slice(d).map_err(|_| key_error("`d` is not a private key of P-256"))
}

/// Any clamped scalar is a multiple of eight, so it sends exactly the points of small order to zero.
fn check_order(u: [u8; 32]) -> Result<(), Error> {
    if x25519_dalek::x25519([1; 32], u) == [0; 32] {
        return Err(key_error("the X25519 key is of small order"));
    }
    Ok(())
}

fn hash_text(text: &str) -> String {
    b64::encode(digest(&SHA256, text.as_bytes()).as_ref())
}
