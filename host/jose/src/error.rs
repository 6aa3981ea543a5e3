//! What can go wrong with a JOSE object.

/// Why a JOSE object was not made, parsed, opened or believed.
///
/// Messages name the object and the rule. They never hold key bytes, plaintext or the text of a
/// message, so they may be logged and sent on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that should be base64url is not. RFC 7515 section 2.
    #[error(
        "{0} is not base64url: use the URL alphabet, no padding, no white space, no spare bits"
    )]
    Base64(&'static str),
    /// Text that should be JSON is not, or names a member twice.
    #[error("{what} is not usable JSON: {reason}")]
    Json {
        /// The object that was read.
        what: &'static str,
        /// What the parser met, without the text itself.
        reason: String,
    },
    /// A key is malformed, or is not meant for this use.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// An object lacks a part, or a part has a wrong size.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// `JWE`, `JWS` or `wrapped key`.
        what: &'static str,
        /// Which rule is broken.
        reason: String,
    },
    /// The message names an algorithm that this crate does not take.
    #[error("{what} {found:?} is not accepted here: only {expected} is")]
    UnsupportedAlgorithm {
        /// The header member, `alg` or `enc`.
        what: &'static str,
        /// Its value in the message.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// No recipient of a JWE fits the key at hand.
    #[error("the JWE is not for this key: no recipient of it opens with the key {thumbprint}")]
    NotForThisKey {
        /// RFC 7638 thumbprint of the key that was tried.
        thumbprint: String,
    },
    /// A ciphertext, its tag or its additional data were changed, or the key is another one.
    #[error("decryption failed: the content was changed or sealed with another key")]
    Decryption,
    /// A wrapped key was changed, or wrapped with another key. RFC 3394 section 2.2.3.
    #[error("key unwrap failed: the wrapped key was changed or wrapped with another key")]
    Unwrap,
    /// A signature does not verify with the given key.
    #[error("the signature does not verify with the key {thumbprint}")]
    Signature {
        /// RFC 7638 thumbprint of the key that was tried.
        thumbprint: String,
    },
    /// The operating system gave no random bytes, or a primitive refused its input.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}
