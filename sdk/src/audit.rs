//! What the host has on record about this task: its chain in the audit log, and nothing of another task.
//!
//! Entries are lines of JSON with kinds, codes and digests: that the task was accepted, which component runs under which
//! policy, each secret that was asked for, each result. Every entry names the hash of the one before it, and the receipt
//! of a result names the hash that the chain has with it. So a component can put into its result what it saw of the record,
//! and whoever has the result can compare.
//!
//! ```
//! use proplet_sdk::{audit, testing::Host};
//!
//! # Host::new().with_record(&[r#"{"kind":"accepted"}"#]).run(|| {
//! for entry in audit::all()? {
//!     # assert_eq!(entry, r#"{"kind":"accepted"}"#);
//!     println!("{entry}");
//! }
//! let head = audit::head();
//! # assert!(head.starts_with("sha256:"));
//! # Ok::<(), audit::Error>(())
//! # })?;
//! # Ok::<(), audit::Error>(())
//! ```

#[cfg(not(target_family = "wasm"))]
use self::native as host;
#[cfg(target_family = "wasm")]
use crate::bindings::propeller::confidential::audit as host;
use crate::bindings::propeller::confidential::audit::AuditError as Raw;
use crate::known::{InterfaceError, Known};

/// The errors of this interface.
pub(crate) const ERRORS: &[Known] = &[Known::of::<Error>()];

impl InterfaceError for Error {}

/// Why an entry cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no entry with this index.
    #[error(
        "the record of the task has {count} entries, and the first is number 0: ask for one of these"
    )]
    OutOfRange {
        /// How many entries there are.
        count: u32,
    },
    /// Anything else, in the host's words.
    #[error("the record of the task cannot be read: {0}")]
    Other(String),
}

/// How many entries there are so far. There are more after calls that are put on record, as for a secret.
pub fn count() -> u32 {
    host::count()
}

/// One entry, counted from 0: a line of canonical JSON as it stands in the log.
///
/// # Errors
///
/// There is no such entry.
pub fn read(index: u32) -> Result<String, Error> {
    Ok(host::read(index)?)
}

/// The hash of the last entry, `sha256:` and 64 hexadecimal digits. Empty where the host keeps no record.
pub fn head() -> String {
    host::head()
}

/// All entries so far.
///
/// # Errors
///
/// The host cannot read one of them.
pub fn all() -> Result<Vec<String>, Error> {
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

    use crate::bindings::propeller::confidential::audit::AuditError;
    use crate::testing::{Host, part};

    /// The entries.
    #[derive(Default)]
    struct State(RefCell<Vec<String>>);

    impl Host {
        /// Has these entries on record. The hash of the last one is made up.
        #[must_use]
        pub fn with_record(self, entries: &[&str]) -> Self {
            let entries = entries.iter().map(|entry| (*entry).to_owned());
            self.part::<State>().0.borrow_mut().extend(entries);
            self
        }
    }

    pub(crate) fn count() -> u32 {
        u32::try_from(part::<State>("audit::count").0.borrow().len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn read(index: u32) -> Result<String, AuditError> {
        let state = part::<State>("audit::read");
        let entries = state.0.borrow();
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| entries.get(index));
        found
            .cloned()
            .ok_or_else(|| AuditError::OutOfRange(count()))
    }

    pub(crate) fn head() -> String {
        format!("sha256:{:064x}", count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn entries_come_in_order() {
        Host::new().with_record(&["a", "b"]).run(|| {
            assert_eq!(all().unwrap(), ["a", "b"]);
            assert_eq!(read(1).unwrap(), "b");
            assert_eq!(head().len(), "sha256:".len() + 64);
        });
        Host::new().run(|| assert_eq!(count(), 0));
    }

    #[test]
    fn there_is_nothing_beyond_the_last() {
        Host::new().with_record(&["a"]).run(|| {
            assert_eq!(read(1).unwrap_err(), Error::OutOfRange { count: 1 });
        });
    }
}
