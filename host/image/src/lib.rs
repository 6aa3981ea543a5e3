//! OCI images of WebAssembly: pulled, verified and decrypted in memory.
//!
//! The registry is not trusted: it sees ciphertext and may send anything. What this crate hands on
//! is bytes that are the ones the owner encrypted, or an error. In order:
//!
//! 1. The manifest's bytes hash to the digest that was asked for. A tag pins nothing, so whoever
//!    needs to know *which* image ran compares [`Wasm::image_digest`] or uses a digest.
//! 2. Config and layer hash to the digests in the manifest; sizes are bounded before and while
//!    they are read.
//! 3. The key id of the layer names a key of the configured KBS, and the one that the task expects,
//!    before the key is asked for ([`PullPolicy`]).
//! 4. The layer is decrypted while it downloads, and not one byte of it is handed on before the
//!    ciphertext digest, the OCIcrypt HMAC and the plaintext digest were all right ([`layer`]).
//! 5. The plaintext exists in memory only, in buffers that are wiped when dropped.
//!
//! The other direction is here too: [`encrypt`] makes what the stock tools make, [`push`] and
//! [`layout`] move it, [`inspect`] says what an image is without any key.
#![deny(missing_docs)]

mod artifact;
mod challenge;
mod credentials;
pub mod encrypt;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod inspect;
mod keys;
pub mod layer;
pub mod layout;
mod manifest;
pub mod media;
pub mod ocicrypt;
mod open;
mod pull;
pub mod push;
mod reference;
mod registry;
mod unpack;

pub use artifact::{Artifact, Blob};
pub use credentials::{Credential, CredentialSource, Credentials, Helper, HelperAnswer};
pub use error::ImageError;
pub use keys::{KeySource, KeySourceError};
pub use manifest::{
    Descriptor, Encryption, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Platform,
};
pub use ocicrypt::WrapType;
pub use open::{NamedKbs, PullPolicy, Wasm, open_encrypted, open_plain, unwrap_packet};
pub use pull::Puller;
pub use reference::ImageReference;
pub use registry::RegistryConfig;
