//! Tasks that do not simply run once: latent ones and daemons, plain and encrypted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod daemon;
mod latent;
mod sealed_daemon;
mod sealed_latent;
mod support;
