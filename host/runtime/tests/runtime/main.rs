//! The runtime from outside: small components and core modules, written as WIT and core text, against the
//! public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod arguments;
mod attestation;
mod audit;
mod cache;
mod commands;
mod core_modules;
mod fakes;
mod guests;
mod imports;
mod inputs;
mod isolation;
mod limits;
mod policies;
mod results;
mod secrets;
mod shapes;
