//! Asks `elastic:hal` for everything there is, as guests of Propeller do: exports of their own that take nothing
//! and return a text.
#![deny(missing_docs)]

#[cfg(target_family = "wasm")]
mod probe;
