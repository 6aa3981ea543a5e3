//! The inputs of the task, in the order of the start message, counted from 0.
//!
//! A plain input is what the orchestrator sent, and nobody vouches for it. The receipt of a result
//! names the digest of the inputs as received, so a data owner can tell which ones were used.
//!
//! ```
//! use proplet_sdk::{inputs, testing::Host};
//!
//! # Host::new().with_input("5.1,3.5,1.4,0.2").run(|| {
//! for input in inputs::all()? {
//!     let length = input.len();
//!     # assert_eq!(length, 15);
//! }
//! let first = inputs::text(0)?;
//! # assert_eq!(first, "5.1,3.5,1.4,0.2");
//! # Ok::<(), inputs::Error>(())
//! # })?;
//! # Ok::<(), inputs::Error>(())
//! ```

#[cfg(not(target_family = "wasm"))]
use self::native as host;
#[cfg(target_family = "wasm")]
use crate::bindings::propeller::confidential::inputs as host;
use crate::bindings::propeller::confidential::inputs::InputError as Raw;
use crate::known::{InterfaceError, Known};

/// The errors of this interface.
pub(crate) const ERRORS: &[Known] = &[Known::of::<Error>()];

impl InterfaceError for Error {
    fn blames_input(&self) -> bool {
        matches!(self, Self::NotText { .. })
    }
}

/// Why an input cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no input with this index.
    #[error("the task has {count} inputs, and the first is number 0: send another input")]
    OutOfRange {
        /// How many inputs there are.
        count: u32,
    },
    /// The input is not text. Only [`text`] says this.
    #[error("input {index} is not text in UTF-8: send it as such")]
    NotText {
        /// Which input.
        index: u32,
    },
    /// Anything else, in the host's words.
    #[error("the input cannot be read: {0}")]
    Other(String),
}

/// How many inputs there are.
pub fn count() -> u32 {
    host::count()
}

/// The bytes of one input. A number in the start message is given as its decimal text.
///
/// # Errors
///
/// There is no such input, or the host cannot read it.
pub fn read(index: u32) -> Result<Vec<u8>, Error> {
    Ok(host::read(index)?)
}

/// One input as text.
///
/// # Errors
///
/// As [`read`], and the input is not UTF-8.
pub fn text(index: u32) -> Result<String, Error> {
    String::from_utf8(read(index)?).map_err(|_| Error::NotText { index })
}

/// The media type of one input, when its sender gave one.
///
/// # Errors
///
/// There is no such input.
pub fn media_type(index: u32) -> Result<Option<String>, Error> {
    Ok(host::media_type(index)?)
}

/// The bytes of every input.
///
/// # Errors
///
/// The host cannot read one of them.
pub fn all() -> Result<Vec<Vec<u8>>, Error> {
    (0..count()).map(read).collect()
}

impl From<Raw> for Error {
    fn from(error: Raw) -> Self {
        match error {
            Raw::OutOfRange(count) => Self::OutOfRange { count },
            Raw::Other(text) => Self::Other(text),
        }
    }
}

/// The interface in tests: the signatures of the generated bindings, and what a test gives to its host.
#[cfg(not(target_family = "wasm"))]
pub(crate) mod native {
    use std::cell::RefCell;

    use crate::bindings::propeller::confidential::inputs::InputError;
    use crate::testing::{Host, part};

    /// The inputs, each with its media type if it has one.
    #[derive(Default)]
    struct State(RefCell<Vec<(Vec<u8>, Option<String>)>>);

    impl Host {
        /// Adds an input.
        #[must_use]
        pub fn with_input(self, bytes: impl AsRef<[u8]>) -> Self {
            self.add_input(bytes.as_ref(), None)
        }

        /// Adds an input with a media type.
        #[must_use]
        pub fn with_typed_input(self, bytes: impl AsRef<[u8]>, media_type: &str) -> Self {
            self.add_input(bytes.as_ref(), Some(media_type.into()))
        }

        fn add_input(self, bytes: &[u8], media_type: Option<String>) -> Self {
            let input = (bytes.to_vec(), media_type);
            self.part::<State>().0.borrow_mut().push(input);
            self
        }
    }

    pub(crate) fn count() -> u32 {
        u32::try_from(part::<State>("inputs::count").0.borrow().len()).unwrap_or(u32::MAX)
    }
    pub(crate) fn read(index: u32) -> Result<Vec<u8>, InputError> {
        Ok(input(index)?.0)
    }
    pub(crate) fn media_type(index: u32) -> Result<Option<String>, InputError> {
        Ok(input(index)?.1)
    }

    fn input(index: u32) -> Result<(Vec<u8>, Option<String>), InputError> {
        let state = part::<State>("inputs::read");
        let inputs = state.0.borrow();
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| inputs.get(index));
        found
            .cloned()
            .ok_or_else(|| InputError::OutOfRange(count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn inputs_come_in_order() {
        Host::new()
            .with_input("a")
            .with_typed_input([0xff], "image/png")
            .run(|| {
                assert_eq!(all().unwrap(), [b"a".to_vec(), vec![0xff]]);
                assert_eq!(text(0).unwrap(), "a");
                assert_eq!(media_type(0).unwrap(), None);
                assert_eq!(media_type(1).unwrap().as_deref(), Some("image/png"));
            });
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        Host::new().with_input([0xff]).run(|| {
            assert_eq!(text(0).unwrap_err(), Error::NotText { index: 0 });
            assert_eq!(read(1).unwrap_err(), Error::OutOfRange { count: 1 });
            assert_eq!(media_type(1).unwrap_err(), Error::OutOfRange { count: 1 });
        });
    }
}
