//! Tasks that do not simply run once: latent ones, plain and encrypted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod latent;
mod sealed_latent;
mod support;
