//! Private keys.

use std::fmt;

use p256::pkcs8::{DecodePrivateKey as _, PrivateKeyInfo};
use serde_json::Value;
use zeroize::Zeroizing;

use super::members::{coordinate, key_error, object};
use super::pem::pem_document;
use super::public::{Point, PublicKey};
use super::usage::{ALG, check_usage};
use crate::{Error, b64, random};

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
        let public = match &secret {
            Secret::P256(secret) => PublicKey::from_p256(&secret.public_key()),
            Secret::X25519(secret) => {
                PublicKey::from_own_x25519(x25519_dalek::PublicKey::from(secret).to_bytes())
            }
        };
        Self {
            secret,
            public,
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

fn p256_scalar(d: &[u8]) -> Result<p256::SecretKey, Error> {
    p256::SecretKey::from_slice(d).map_err(|_| key_error("`d` is not a private key of P-256"))
}
