//! Where key-encryption keys come from.
//!
//! The image crate knows that a key has a KBS URI and nothing about how it is released. The daemon
//! gives it a KBS client, tests give it a map.

use async_trait::async_trait;
use proplet_types::{Code, ResourceUri};
use zeroize::Zeroizing;

/// Gives the key-encryption key that stands under a key id.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The raw bytes of the key under `kid` (32 bytes for every wrap type that this crate opens;
    /// the crate checks it).
    ///
    /// # Errors
    /// When the key is not released. The error's code becomes the code of the pull.
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError>;
}

/// Why a key was not released: the source's own code and words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KeySourceError {
    code: Code,
    message: String,
}

impl KeySourceError {
    /// An error with a stable code (for instance `kbs-denied`) and a message for people, which must
    /// hold nothing secret.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The source's code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The source's words.
    pub fn message(&self) -> &str {
        &self.message
    }
}
