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

mod keys;
mod message;
mod open;
mod seal;
mod wire;

pub use self::message::{Jwe, MAX_RECIPIENTS};
pub use self::open::Decrypted;
pub use self::seal::encrypt;
