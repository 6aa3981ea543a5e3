//! OCIcrypt: what the annotations of an encrypted layer mean.
//!
//! A layer is encrypted with AES-256-CTR under a random *symmetric key* and authenticated with
//! HMAC-SHA256 over the ciphertext under the same key. The symmetric key, the plaintext digest and
//! the CTR nonce are the *private options*. They are wrapped under a *key-encryption key*, which the
//! KBS releases, and the result is a *key packet* in an annotation. The HMAC stands in the *public
//! options*, another annotation.
//!
//! What protects what: the key packet is authenticated by A256GCM, so symmetric key, nonce and
//! plaintext digest are the owner's. The public options, the key id and the media type are not
//! authenticated; the HMAC in them is checked by the symmetric key, the nonce is taken from the
//! private options only, and the plaintext digest covers what comes out. Nothing decrypted is handed
//! on before ciphertext digest, HMAC and plaintext digest were all right.
//!
//! Formats: `ocicrypt` 1.2 (`spec`, `blockcipher`, `keywrap/keyprovider`) and the key provider of
//! Confidential Containers' guest components.

mod annotations;
mod options;
mod packet;
mod wrap;

pub use annotations::{
    KEY_PROVIDER, LayerEncryption, MAX_KEY_PACKETS, PROVIDER_ANNOTATION_PREFIX, PUBOPTS_ANNOTATION,
};
pub use options::{PrivateOptions, PublicOptions};
pub use packet::{AnnotationPacket, WrapType};
pub use wrap::{unwrap_options, wrap_options};

/// Why options, a key packet or a wrapped key were refused. Nothing secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcicryptError {
    /// An annotation, or a member of one, is malformed.
    #[error("{what}: {why}")]
    Malformed {
        /// The annotation or member.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The key-encryption key is not 32 bytes.
    #[error(
        "the key under this key id is not 32 bytes long; a key-encryption key is 32 raw bytes: store \
         such a key there, or name another key id"
    )]
    KeyLength {
        /// Bytes that it has. Not in the message: an image can name any resource as its key, and the
        /// message goes to whoever started the task.
        length: usize,
    },
    /// The wrapped options do not open under the key.
    #[error(
        "the wrapped options (wrapped_data, iv) do not open under the key of this key id: key, \
         packet or both are not the ones of the encryption"
    )]
    Unwrap,
    /// The system's random generator failed.
    #[error("the random generator of the system failed")]
    Random,
}

impl OcicryptError {
    pub(crate) fn malformed(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Malformed {
            what: what.into(),
            why: why.to_string(),
        }
    }
}
