//! Why an encrypted layer is refused.

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
