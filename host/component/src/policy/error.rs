//! Why there is no policy, or none that can be used.

use super::format::{MAX_ENTRIES, MAX_POLICY_BYTES, SECTION};

/// Why there is no policy, or none that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The bytes are not a WebAssembly component or module.
    #[error("not a WebAssembly component or module: {0}")]
    NotWasm(String),
    /// There is more than one policy section.
    #[error("the component has more than one `{SECTION}` section; build it again with one")]
    Duplicate,
    /// A policy is there already.
    #[error("the component has a policy already; start from the component without one")]
    Present,
    /// The policy is too large.
    #[error("the policy has {0} bytes; at most {MAX_POLICY_BYTES} are read")]
    TooLarge(usize),
    /// Not TOML of the policy format.
    #[error("the policy is not valid: {0}")]
    Syntax(String),
    /// A value that cannot be meant.
    #[error("the policy's `{field}` is not valid: {reason}")]
    Value {
        /// The key.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

pub(super) fn bounded(field: &'static str, len: usize) -> Result<(), PolicyError> {
    if len > MAX_ENTRIES {
        return invalid(
            field,
            format!("{len} entries; at most {MAX_ENTRIES} are read"),
        );
    }
    Ok(())
}

pub(super) fn invalid<T>(field: &'static str, reason: String) -> Result<T, PolicyError> {
    Err(PolicyError::Value { field, reason })
}
