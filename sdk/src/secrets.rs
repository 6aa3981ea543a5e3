//! Secrets that the key broker releases after attestation, and that this component's policy grants.
//!
//! A [`Secret`] is a handle: its bytes stay in the host, which wipes them when the handle is dropped.
//! [`Secret::reveal`] is what brings them into the component, where they stay until the host frees
//! the instance. It is an interface of its own, so a component that never calls it does not import it.
//!
//! ```
//! use proplet_sdk::{Failure, secrets, testing::Host};
//!
//! # let host = Host::new().with_secret("kbs:///default/model/iris", b"weights");
//! # host.run(|| {
//! let weights = secrets::get("kbs:///default/model/iris")?.reveal()?;
//! # assert_eq!(weights, b"weights");
//! # Ok::<(), Failure>(())
//! # })?;
//! # Ok::<(), Failure>(())
//! ```

use std::fmt;

#[cfg(not(target_family = "wasm"))]
use self::native::{self as host, self as reveal};
#[cfg(target_family = "wasm")]
use crate::bindings::propeller::confidential::{reveal, secrets as host};
use crate::bindings::propeller::confidential::{
    reveal::RevealError as RawReveal, secrets::SecretError as Raw,
};
use crate::known::{InterfaceError, Known};

/// The errors of these interfaces.
pub(crate) const ERRORS: &[Known] = &[Known::of::<Error>(), Known::of::<RevealError>()];

impl InterfaceError for Error {}

impl InterfaceError for RevealError {}

/// Why there is no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a `kbs:///repository/type/tag` address.
    #[error("not the address of a secret, which looks like kbs:///repository/type/tag: {0}")]
    InvalidUri(String),
    /// The component's policy does not name this secret. The key broker was not asked.
    #[error("the component's policy does not grant this secret, add it under [[secrets]]: {0}")]
    NotGranted(String),
    /// The key broker refuses the secret to this host.
    #[error("the key broker refuses the secret to this host, see its resource policy: {0}")]
    Denied(String),
    /// The key broker has no such secret, or its storage failed: it does not tell them apart.
    #[error("the key broker has no such secret: {0}")]
    NotFound(String),
    /// The key broker could not be reached or did not answer properly; trying later may help.
    #[error("the key broker did not answer, try later: {0}")]
    Unavailable(String),
    /// The secret is larger than the limit.
    #[error("the secret is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The task holds as many secrets as it may.
    #[error("the task holds {limit} secrets, which is all it may: drop one first")]
    TooManyHandles {
        /// How many it may hold.
        limit: u32,
    },
    /// This task has asked for secrets as often as it may.
    #[error(
        "this task has asked for secrets {quota} times, which is all it may: keep what it has, or ask \
         the operator for more"
    )]
    QuotaExceeded {
        /// How often this task may ask.
        quota: u32,
    },
    /// Anything else, in the host's words.
    #[error("no secret: {0}")]
    Other(String),
}

/// Why the bytes of a secret are not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevealError {
    /// The component's policy says that this secret is not to be revealed.
    #[error("the component's policy does not let it see this secret, `reveal` is not set: {0}")]
    NotGranted(String),
    /// Anything else, in the host's words.
    #[error("the secret is not revealed: {0}")]
    Other(String),
}

/// Gets a secret by its address, `kbs:///repository/type/tag`. The repository must be the one of the
/// key that decrypted this component, and the policy must name the address.
///
/// # Errors
///
/// The address is malformed or not granted, the key broker refuses, has no such secret or does not
/// answer, or a limit of this task is reached.
pub fn get(uri: &str) -> Result<Secret, Error> {
    Ok(Secret(host::get(uri)?))
}

/// A secret whose bytes stay in the host until they are [revealed](Self::reveal).
pub struct Secret(host::Secret);

impl Secret {
    /// The address that it was asked for.
    pub fn uri(&self) -> String {
        self.0.uri()
    }

    /// The bytes, at most 1 MiB. From then on they are in the memory of this component.
    ///
    /// # Errors
    ///
    /// The policy does not let this component see them.
    pub fn reveal(&self) -> Result<Vec<u8>, RevealError> {
        Ok(reveal::reveal(&self.0)?)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl From<Raw> for Error {
    fn from(error: Raw) -> Self {
        match error {
            Raw::InvalidUri(text) => Self::InvalidUri(text),
            Raw::NotGranted(text) => Self::NotGranted(text),
            Raw::Denied(text) => Self::Denied(text),
            Raw::NotFound(text) => Self::NotFound(text),
            Raw::Unavailable(text) => Self::Unavailable(text),
            Raw::TooLarge(limit) => Self::TooLarge { limit },
            Raw::TooManyHandles(limit) => Self::TooManyHandles { limit },
            Raw::QuotaExceeded(quota) => Self::QuotaExceeded { quota },
            Raw::Other(text) => Self::Other(text),
        }
    }
}

impl From<RawReveal> for RevealError {
    fn from(error: RawReveal) -> Self {
        match error {
            RawReveal::NotGranted(text) => Self::NotGranted(text),
            RawReveal::Other(text) => Self::Other(text),
        }
    }
}

/// The interface in tests: the signatures of the generated bindings, and what a test gives to its host.
#[cfg(not(target_family = "wasm"))]
pub(crate) mod native {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use crate::bindings::propeller::confidential::reveal::RevealError;
    use crate::bindings::propeller::confidential::secrets::SecretError;
    use crate::testing::{Host, part};

    /// Secrets by address; none for one that is not to be revealed.
    #[derive(Default)]
    struct State(RefCell<BTreeMap<String, Option<Vec<u8>>>>);

    impl Host {
        /// Adds a secret that may be revealed.
        #[must_use]
        pub fn with_secret(self, uri: &str, bytes: impl AsRef<[u8]>) -> Self {
            self.add_secret(uri, Some(bytes.as_ref().to_vec()))
        }

        /// Adds a secret that the policy does not let the component see.
        #[must_use]
        pub fn with_opaque_secret(self, uri: &str) -> Self {
            self.add_secret(uri, None)
        }

        fn add_secret(self, uri: &str, bytes: Option<Vec<u8>>) -> Self {
            let state = self.part::<State>();
            state.0.borrow_mut().insert(uri.into(), bytes);
            self
        }
    }

    pub(crate) struct Secret {
        uri: String,
        bytes: Option<Vec<u8>>,
    }

    impl Secret {
        pub(crate) fn uri(&self) -> String {
            self.uri.clone()
        }
    }

    pub(crate) fn get(uri: &str) -> Result<Secret, SecretError> {
        if !uri.starts_with("kbs:///") {
            return Err(SecretError::InvalidUri(uri.into()));
        }
        match part::<State>("secrets::get").0.borrow().get(uri) {
            Some(bytes) => Ok(Secret {
                uri: uri.into(),
                bytes: bytes.clone(),
            }),
            None => Err(SecretError::NotGranted(uri.into())),
        }
    }

    pub(crate) fn reveal(secret: &Secret) -> Result<Vec<u8>, RevealError> {
        secret
            .bytes
            .clone()
            .ok_or_else(|| RevealError::NotGranted(secret.uri.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn a_secret_is_revealed() {
        Host::new().with_secret("kbs:///r/t/a", b"bytes").run(|| {
            let secret = get("kbs:///r/t/a").unwrap();
            assert_eq!(secret.uri(), "kbs:///r/t/a");
            assert_eq!(secret.reveal().unwrap(), b"bytes");
        });
    }

    #[test]
    fn an_opaque_secret_is_held_but_not_revealed() {
        Host::new().with_opaque_secret("kbs:///r/t/a").run(|| {
            let secret = get("kbs:///r/t/a").unwrap();
            assert_eq!(
                secret.reveal().unwrap_err(),
                RevealError::NotGranted("kbs:///r/t/a".into())
            );
        });
    }

    #[test]
    fn what_no_policy_names_is_refused() {
        Host::new().run(|| {
            assert_eq!(
                get("kbs:///r/t/a").unwrap_err(),
                Error::NotGranted("kbs:///r/t/a".into())
            );
        });
    }

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        Host::new().with_secret("kbs:///r/t/a", b"canary").run(|| {
            assert_eq!(
                format!("{:?}", get("kbs:///r/t/a").unwrap()),
                "Secret { .. }"
            );
        });
    }
}
