//! Public keys.

use std::fmt;

use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use serde_json::{Map, Value, json};

use super::members::{coordinate, key_error, object, sec1_point, text};
use super::thumbprint::{ec_thumbprint, okp_thumbprint};
use super::usage::{ALG, check_usage};
use crate::{Error, b64};

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

    /// The key of a scalar that this process holds. Clamping keeps it out of the small subgroup.
    pub(super) fn from_own_x25519(u: [u8; 32]) -> Self {
        Self(Point::X25519(u))
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

    pub(super) fn from_public_members(members: &Map<String, Value>) -> Result<Self, Error> {
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

    pub(super) fn coordinates(&self) -> (String, Option<String>) {
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

/// Any clamped scalar is a multiple of eight, so it sends exactly the points of small order to zero.
fn check_order(u: [u8; 32]) -> Result<(), Error> {
    if x25519_dalek::x25519([1; 32], u) == [0; 32] {
        return Err(key_error("the X25519 key is of small order"));
    }
    Ok(())
}
