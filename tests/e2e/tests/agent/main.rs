//! The interfaces of Confidential Containers' guest components, over a real socket: what each method gives, what
//! each refuses, and that what the Attestation Agent gives passes for nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod attestation;
mod bounds;
mod daemon;
mod forgery;
mod record;
mod support;
mod tokens;
mod unwrapping;
