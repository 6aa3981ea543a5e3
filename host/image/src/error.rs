//! What can go wrong between a reference and verified bytes.
//!
//! Every error has a short [`code`](ImageError::code) that is stable, safe to publish in clear and
//! meant for machines, and a message for people that says what failed, on what, and what to do next.
//! No message holds a key, a password, a token or plaintext.

use proplet_types::Code;

use crate::keys::KeySourceError;

/// Why an image could not be pulled, opened, made or pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The text is not an image reference.
    #[error(
        "{text:?} is not an image reference ({why}); write registry/repository:tag or \
         registry/repository@sha256:<64 hex digits>"
    )]
    Reference {
        /// What was given, cut to a printable length.
        text: String,
        /// Why it was refused.
        why: String,
    },
    /// The registry answered that it has no such manifest or blob.
    #[error("{what} was not found; check the image's name, tag and digest, and that it was pushed")]
    NotFound {
        /// The manifest or blob, with its registry.
        what: String,
    },
    /// The registry wants other credentials, or none were given.
    #[error(
        "registry {registry} refused access to {repository}; put an entry for this registry with \
         rights to that repository into the credentials file (docker config.json form)"
    )]
    Unauthorized {
        /// The registry's host.
        registry: String,
        /// The repository asked for.
        repository: String,
    },
    /// Bytes do not hash to the digest that named them.
    #[error(
        "{what} does not match its digest: expected {expected}, got {actual}; the registry or the \
         network changed it, so do not use it: push the image again or pin the right digest"
    )]
    DigestMismatch {
        /// Manifest, config or layer.
        what: String,
        /// The digest it was asked for by.
        expected: String,
        /// The digest of what arrived.
        actual: String,
    },
    /// A blob is longer or shorter than its descriptor says.
    #[error(
        "{what} does not match its descriptor: it has {expected} bytes by the manifest, and \
         {actual} arrived before it was given up; the registry or the network changed it: push \
         the image again"
    )]
    SizeMismatch {
        /// Config or layer.
        what: String,
        /// Bytes by the descriptor.
        expected: u64,
        /// Bytes that arrived, or that the registry announced.
        actual: u64,
    },
    /// The OCIcrypt HMAC over the ciphertext is another one.
    #[error(
        "layer {layer}: the HMAC of the ciphertext does not match the one in its pubopts \
         annotation; ciphertext, annotation and key are not from the same encryption: encrypt and \
         push the image again"
    )]
    HmacMismatch {
        /// Digest of the layer.
        layer: String,
    },
    /// The decrypted bytes do not hash to the digest inside the wrapped options.
    #[error(
        "layer {layer}: the decrypted bytes do not match the plaintext digest in the wrapped \
         options; encrypt and push the image again"
    )]
    PlainDigestMismatch {
        /// Digest of the layer.
        layer: String,
    },
    /// An encrypted image was asked for, this one is plain.
    #[error(
        "image {image} is not encrypted though the task says that it is; encrypt it with `proplet \
         image encrypt`, or start the task without `encrypted`"
    )]
    NotEncrypted {
        /// Digest of the manifest.
        image: String,
    },
    /// A plain image was asked for, this one is encrypted.
    #[error(
        "image {image} is encrypted and the task does not say so; start the task with `encrypted: \
         true`"
    )]
    Encrypted {
        /// Digest of the manifest.
        image: String,
    },
    /// The image's key is not the one that was expected, or does not open it.
    #[error("key of image {image}: {why}")]
    KeyMismatch {
        /// Digest of the manifest or layer.
        image: String,
        /// What differs and what to do.
        why: String,
    },
    /// The image's key is a resource of a type that is not kept for images.
    #[error(
        "the image's key {kid} is not of type {types}, and the settings of this host let no other \
         decrypt images; encrypt again under a key id of that type, or name its type under \
         [confidential] image_key_types"
    )]
    KeyTypeRefused {
        /// Id of the key.
        kid: String,
        /// The types that are allowed.
        types: String,
    },
    /// The key was wrapped in a way that the pull policy does not allow.
    #[error(
        "layer {layer}: its key is wrapped with {wrap}, which does not authenticate it; encrypt \
         again with A256GCM, or allow it in the settings knowing that no policy of such an image \
         counts"
    )]
    WrapRefused {
        /// Digest of the layer.
        layer: String,
        /// Name of the wrapping algorithm.
        wrap: String,
    },
    /// Something is larger than its limit.
    #[error("{what} is larger than its limit of {limit} bytes; make it smaller or raise the limit")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Manifest, annotations or layer are not of a form that this host knows.
    #[error("{what}: {why}")]
    Layout {
        /// The part of the image.
        what: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// The registry could not be reached, or answered nonsense.
    #[error("registry {registry} is unavailable: {why}; check the name, the network and the CA")]
    Unavailable {
        /// The registry's host.
        registry: String,
        /// What happened.
        why: String,
    },
    /// The settings do not let the registry be reached where it is.
    #[error("{why}")]
    NotAllowed {
        /// What would have to be allowed, and where.
        why: String,
    },
    /// The credentials file or the CA of the settings cannot be used.
    #[error("image settings: {why}")]
    Settings {
        /// What is wrong and where.
        why: String,
    },
    /// A file of an image folder could not be read or written.
    #[error("image folder, {path}: {why}")]
    Folder {
        /// The file or folder.
        path: String,
        /// The operating system's or our reason.
        why: String,
    },
    /// The key source did not give the key. Its code is the error's code.
    #[error("key {kid} was not released: {source}")]
    Key {
        /// The key asked for.
        kid: String,
        /// What the key source said.
        source: KeySourceError,
    },
    /// The source of credentials for registries gave none.
    #[error("the credentials for registries are not there: {0}")]
    Credentials(KeySourceError),
    /// A thread or the random generator of this process failed.
    #[error("internal failure while {doing}; try again, and report it if it happens again")]
    Internal {
        /// What was being done.
        doing: &'static str,
    },
}

impl ImageError {
    /// A stable, short code in kebab case: for results, logs and metrics. It never depends on
    /// secret data.
    pub fn code(&self) -> Code {
        match self {
            Self::Reference { .. } => Code::ImageReference,
            Self::NotFound { .. } => Code::ImageNotFound,
            Self::Unauthorized { .. } => Code::ImageUnauthorized,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => Code::ImageDigestMismatch,
            Self::HmacMismatch { .. } => Code::ImageHmacMismatch,
            Self::PlainDigestMismatch { .. } => Code::ImagePlainDigestMismatch,
            Self::NotEncrypted { .. } => Code::ImageNotEncrypted,
            Self::Encrypted { .. } => Code::ImageEncrypted,
            Self::KeyMismatch { .. } => Code::ImageKeyMismatch,
            Self::KeyTypeRefused { .. } => Code::ImageKeyType,
            Self::WrapRefused { .. } => Code::ImageWrapRefused,
            Self::TooLarge { .. } => Code::ImageTooLarge,
            Self::Layout { .. } => Code::ImageLayout,
            Self::Unavailable { .. } => Code::RegistryUnavailable,
            Self::NotAllowed { .. } => Code::ImageNotAllowed,
            Self::Settings { .. } => Code::ImageSettings,
            Self::Folder { .. } => Code::ImageFolder,
            Self::Key { source, .. } | Self::Credentials(source) => source.code(),
            Self::Internal { .. } => Code::ImageInternal,
        }
    }

    pub(crate) fn layout(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Layout {
            what: what.into(),
            why: why.into(),
        }
    }
}
