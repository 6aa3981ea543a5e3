//! The nouns that every part of the host shares, each written once.
//!
//! What is here is small, pure and owned by nobody in particular: values that are parsed from untrusted
//! text ([`Digest`], [`ResourceUri`], [`MediaType`]), the rule which key broker an address may name
//! ([`KbsHost`]), the stable codes of refusals and errors ([`Code`]) and names of checks ([`Check`]), the
//! time ([`Clock`], [`rfc3339`]), and the cleaning of strangers' text before anybody reads it ([`text`]). Every parser is strict and bounded, so that a value that exists is a good one and nobody
//! below has to look again: two values are equal exactly when their texts are.
//!
//! The crate is the lowest of the host's: it does no I/O, knows no protocol and depends on no other.
#![deny(missing_docs)]

mod check;
pub mod clock;
mod code;
mod digest;
mod image_keys;
mod media_type;
#[cfg(test)]
mod page;
mod resource_uri;
pub mod text;

pub use check::{Check, UnknownCheck};
pub use clock::{Clock, SystemClock, rfc3339};
pub use code::{Code, ExitCode, UnknownCode};
pub use digest::{Digest, Hasher, InvalidDigest};
pub use image_keys::{HOST_CREDENTIAL_TYPE, ImageKeyTypes, ImageKeyTypesError, is_host_credential};
pub use media_type::{MAX_MEDIA_TYPE_BYTES, MediaType, MediaTypeError};
pub use resource_uri::{KbsHost, MAX_URI_BYTES, ResourceUri, ResourceUriError};
