//! What the format fixes.

/// Name of the custom section.
pub const SECTION: &str = "propeller:policy";

/// Largest policy, in bytes of TOML.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;

/// Most entries of `secrets`, `recipients`, `exports` and `hosts`, each.
pub(super) const MAX_ENTRIES: usize = 256;
