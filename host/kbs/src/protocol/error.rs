//! Why a message is not of the protocol.

/// Why a message is not of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not JSON, or not of this shape. Holds no part of the message.
    #[error("the {message} is not JSON of the expected shape (line {line}, column {column})")]
    Json {
        /// Which message.
        message: &'static str,
        /// Where it stopped making sense.
        line: usize,
        /// Where it stopped making sense.
        column: usize,
    },
    /// The nonce is empty, too long, or not printable ASCII.
    #[error("the nonce is not 1 to {MAX_NONCE_BYTES} printable ASCII characters")]
    Nonce,
    /// The KBS chose a hash algorithm that is not supported.
    #[error("`selected-hash-algorithm` is not a supported one (sha384, sha512)")]
    HashAlgorithm,
    /// A value cannot be written as JSON.
    #[error("the {0} cannot be written as canonical JSON")]
    Encode(&'static str),
    /// The key is not on P-256.
    #[error("the TEE key is not an EC key on P-256")]
    TeeKey,
}

/// The longest nonce that is accepted, in bytes. A KBS sends 44.
pub(super) const MAX_NONCE_BYTES: usize = 1024;
