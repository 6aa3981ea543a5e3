//! Keys for opening and sealing: JWK (RFC 7517, RFC 7518 section 6.2, RFC 8037) and PKCS#8.
//!
//! A key is checked when it is parsed, so that whoever holds one need not think about it again:
//! coordinates have exactly 32 bytes, the point is on the curve, an X25519 key is not of small order,
//! private and public parts belong together, and `use`, `key_ops` and `alg`, when present, allow
//! ECDH-ES+A256KW. A public key is never read from a private JWK: private keys do not belong in the
//! places where public ones are written down.

mod members;
mod pem;
mod private;
mod public;
mod thumbprint;
mod usage;

pub(crate) use self::members::{coordinate, key_error, object, sec1_point, text};
pub(crate) use self::pem::pem_document;
pub use self::private::PrivateKey;
pub(crate) use self::public::Point;
pub use self::public::PublicKey;
pub(crate) use self::thumbprint::{ec_thumbprint, okp_thumbprint};
pub(crate) use self::usage::{ALG, check_usage};
