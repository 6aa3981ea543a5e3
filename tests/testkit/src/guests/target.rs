//! What guests are compiled for.

/// What guests are compiled for.
pub(super) const TARGET: &str = "wasm32-wasip2";

pub(super) const PROFILE: &str = "guest";
