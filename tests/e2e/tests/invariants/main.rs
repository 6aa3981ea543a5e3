//! The invariants of the design, each broken on purpose by somebody outside: real guests in a real
//! daemon, over a real broker, registry and key broker protocol; only the TEE is a fake.
//!
//! A refusal is asserted by its error code, in the results message that the Manager gets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod answers;
mod audit;
mod bound;
mod clear;
mod debug_image;
mod evidence;
mod hostile;
mod image_keys;
mod images;
mod interfaces;
mod isolation;
mod no_tee;
mod recipients;
mod recorder;
mod secrets;
mod sessions;
mod support;
