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

use crate::bindings::propeller::confidential::inputs::InputError as Raw;
use crate::host::inputs as host;

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
