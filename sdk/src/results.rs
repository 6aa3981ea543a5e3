//! The result of the task.
//!
//! For a component that came encrypted, the host seals the result to the recipients that the data
//! owner chose: neither the component nor the orchestrator can name others. For a plain component the
//! result is text and goes out in clear. A guest that publishes nothing has the value it returns, or
//! its standard output, as result; publishing adds the media type and a receipt.
//!
//! ```
//! use proplet_sdk::{results, testing::Host};
//!
//! # let host = Host::new();
//! # host.run(|| {
//! let receipt = results::publish(r#"{"class":"setosa"}"#, "application/json")?;
//! let digest = receipt.result_digest();
//! # Ok::<(), results::Error>(())
//! # })?;
//! # assert!(host.published().is_some());
//! # Ok::<(), results::Error>(())
//! ```

use std::fmt;

#[cfg(not(target_family = "wasm"))]
use self::native as host;
#[cfg(target_family = "wasm")]
use crate::bindings::propeller::confidential::results as host;
use crate::bindings::propeller::confidential::results::PublishError as Raw;
use crate::known::{InterfaceError, Known};

/// The errors of this interface.
pub(crate) const ERRORS: &[Known] = &[Known::of::<Error>()];

impl InterfaceError for Error {}

/// Why a result was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This task has published its result already.
    #[error("this task has published its result already, and there is one per task")]
    AlreadyPublished,
    /// The result is larger than this task may publish.
    #[error("the result is larger than the {limit} bytes that this task may publish")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not a media type (RFC 6838), or longer than 255 bytes.
    #[error("not a media type, which looks like application/json: {0}")]
    InvalidMediaType(String),
    /// A plain task can publish text only, since its result travels as text.
    #[error(
        "a plain task can publish text in UTF-8 only: encode the result, or encrypt the component"
    )]
    NotText,
    /// Anything else, in the host's words.
    #[error("the result was not taken: {0}")]
    Other(String),
}

/// Publishes the result of this task with its media type. It goes out when the component ends well;
/// when it traps or fails afterwards, the task fails and the result is dropped.
///
/// # Errors
///
/// There was one already, it is too large, the media type is not one, or a plain task publishes what is
/// not text.
pub fn publish(content: impl AsRef<[u8]>, media_type: &str) -> Result<Receipt, Error> {
    Ok(Receipt(host::publish(content.as_ref(), media_type)?))
}

/// The recipients, each the RFC 7638 thumbprint (base64url) of its key. Empty for a plain task.
pub fn recipients() -> Vec<String> {
    host::recipients()
}

/// What the host signed about a published result.
pub struct Receipt(host::Receipt);

impl Receipt {
    /// The receipt, a compact JWS (RFC 7515) by the host's receipt key. None for a plain task.
    pub fn jws(&self) -> Option<String> {
        self.0.jws()
    }

    /// Digest of what goes out, `sha256:…`: of the sealed result for a component that came
    /// encrypted, of the text for a plain one.
    pub fn result_digest(&self) -> String {
        self.0.result_digest()
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").finish_non_exhaustive()
    }
}

impl From<Raw> for Error {
    fn from(error: Raw) -> Self {
        match error {
            Raw::AlreadyPublished => Self::AlreadyPublished,
            Raw::TooLarge(limit) => Self::TooLarge { limit },
            Raw::InvalidMediaType(text) => Self::InvalidMediaType(text),
            Raw::NotText => Self::NotText,
            Raw::Other(text) => Self::Other(text),
        }
    }
}

/// The interface in tests: the signatures of the generated bindings, and what a test gives to its host.
#[cfg(not(target_family = "wasm"))]
pub(crate) mod native {
    use std::cell::RefCell;

    use crate::bindings::propeller::confidential::results::PublishError;
    use crate::testing::{Host, part};

    /// What a guest published.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Published {
        /// The bytes.
        pub content: Vec<u8>,
        /// Their media type.
        pub media_type: String,
    }

    /// What was published, if anything was.
    #[derive(Default)]
    struct State(RefCell<Option<Published>>);

    impl Host {
        /// What the guest published, if it did.
        pub fn published(&self) -> Option<Published> {
            self.part::<State>().0.borrow().clone()
        }
    }

    pub(crate) struct Receipt;

    impl Receipt {
        pub(crate) fn jws(&self) -> Option<String> {
            None
        }
        pub(crate) fn result_digest(&self) -> String {
            "sha256:0000000000000000000000000000000000000000000000000000000000000000".into()
        }
    }

    pub(crate) fn publish(content: &[u8], media_type: &str) -> Result<Receipt, PublishError> {
        if media_type.len() > 255 || !media_type.contains('/') {
            return Err(PublishError::InvalidMediaType(media_type.into()));
        }
        let state = part::<State>("results::publish");
        let mut published = state.0.borrow_mut();
        if published.is_some() {
            return Err(PublishError::AlreadyPublished);
        }
        let content = content.to_vec();
        *published = Some(Published {
            content,
            media_type: media_type.into(),
        });
        Ok(Receipt)
    }
    pub(crate) fn recipients() -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, Published};

    #[test]
    fn a_result_is_published_once() {
        let host = Host::new();
        host.run(|| {
            publish("a", "text/plain").unwrap();
            assert_eq!(
                publish("b", "text/plain").unwrap_err(),
                Error::AlreadyPublished
            );
        });
        let expected = Published {
            content: b"a".to_vec(),
            media_type: "text/plain".into(),
        };
        assert_eq!(host.published(), Some(expected));
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(
            Error::from(Raw::TooLarge(7))
                .to_string()
                .contains("the 7 bytes")
        );
        assert!(
            Error::from(Raw::InvalidMediaType("x".into()))
                .to_string()
                .ends_with(": x")
        );
    }
}
