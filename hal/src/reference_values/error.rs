//! Why reference values are refused.

use std::fmt;

use thiserror::Error;

/// How much of the file is repeated in a message, in characters.
const MAX_SHOWN: usize = 200;

/// Why a document of reference values cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReferenceValuesError {
    /// Larger than any real document.
    #[error("the reference values have {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The document's size in bytes.
        size: usize,
        /// The largest that is read.
        limit: usize,
    },
    /// Not TOML.
    #[error("the reference values are not TOML: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// There is neither a table for SNP nor one for TDX.
    #[error("the reference values are about no TEE: add a table [snp] or [tdx]")]
    NoTee,
    /// A name that means nothing here.
    #[error(
        "the reference values have `{name}`, which is not known{}",
        nearest.map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default()
    )]
    Unknown {
        /// The name with the tables that it is in.
        name: String,
        /// The known name that is closest to it.
        nearest: Option<&'static str>,
    },
    /// A value that is not what its name stands for.
    #[error("the reference value `{name}` cannot be used: {reason}")]
    Value {
        /// The name with the tables that it is in, and its place in a list.
        name: String,
        /// What is wrong, and what to write.
        reason: String,
    },
}

impl ReferenceValuesError {
    pub(super) fn syntax(error: impl fmt::Display) -> Self {
        Self::Syntax {
            reason: error.to_string().chars().take(MAX_SHOWN).collect(),
        }
    }

    pub(super) fn unknown(path: &str, nearest: Option<&'static str>) -> Self {
        Self::Unknown {
            name: shown(path),
            nearest,
        }
    }

    pub(super) fn value(path: &str, reason: impl fmt::Display) -> Self {
        Self::Value {
            name: shown(path),
            reason: reason.to_string(),
        }
    }
}

/// A name of the file, which may be long and may hold what a terminal obeys.
fn shown(path: &str) -> String {
    let shown = path.chars().take(MAX_SHOWN);
    shown
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}
