//! JWE, JWS, JWK and JCS for the key broker protocol and sealed results.
//!
//! The crate knows one way to do each thing, so that a message can never talk it into a weaker one:
//!
//! | noun | what is taken and made | module |
//! | --- | --- | --- |
//! | JWE (RFC 7516) | `ECDH-ES+A256KW` on P-256 or X25519, `A256GCM` | [`jwe`] |
//! | JWS (RFC 7515) | `ES256`; `EdDSA` with Ed25519 for administrators of a key broker | [`jws`] |
//! | JWK (RFC 7517) | keys for the above, RFC 7638 thumbprints | [`jwk`] |
//! | JCS (RFC 8785) | canonical JSON, the input of every digest over JSON | [`jcs`] |
//!
//! [`keyfile`] recognises files that people hold keys in.
//!
//! Primitives come from `ring` wherever it has them. Two it has not: agreement with a long-lived
//! private key (`p256`, `x25519-dalek`) and AES key wrap (`aes-kw`). Sealing needs an ephemeral key
//! only, so it runs on `ring` alone; opening uses the other two.
//!
//! Every parser here is strict: base64url without padding and without spare bits, JSON without
//! duplicate members, headers without members that must be understood and are not. Nothing in this
//! crate does I/O, logs, or puts key bytes or plaintext into an error.
#![deny(missing_docs)]

pub mod aes_kw;
pub mod b64;
mod error;
pub mod jcs;
pub mod json;
pub mod jwe;
pub mod jwk;
pub mod jws;
mod kdf;
pub mod keyfile;
mod random;

pub use error::Error;
pub use kdf::concat_kdf;
