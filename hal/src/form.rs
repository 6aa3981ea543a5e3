//! Evidence that has not the form that it should have, of whichever TEE.

use std::fmt;

use thiserror::Error;

/// How much of a parser's message is repeated, in characters. Such messages may quote what was sent, and
/// whoever sends evidence must not be able to flood a log.
const MAX_REASON: usize = 200;

/// A part of evidence, or of what comes with it, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormError {
    /// Not of the form that this part has.
    #[error("the evidence's {what} is malformed: {reason}")]
    Malformed {
        /// The part that does not parse.
        what: &'static str,
        /// The parser's message, cut to 200 characters.
        reason: String,
    },
    /// A part is larger than anything that hardware sends.
    #[error(
        "the evidence's {what} has {size}, more than the limit of {limit}: it was not made by a TEE"
    )]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Its size: bytes, or entries of a list.
        size: usize,
        /// The largest size that is looked at.
        limit: usize,
    },
}

impl FormError {
    pub(crate) fn malformed(what: &'static str, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string().chars().take(MAX_REASON).collect();
        Self::Malformed { what, reason }
    }

    /// Refuses a part of more than `limit` bytes or entries.
    pub(crate) fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), Self> {
        if size > limit {
            return Err(Self::TooLarge { what, size, limit });
        }
        Ok(())
    }
}
