//! `hal/ubuntu/qemu.sh` on made-up machines, with a program that stands in for QEMU: no root, no network, no TEE.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod arguments;
mod building;
mod documents;
mod machines;
mod refusals;
mod several;
mod starting;
mod trees;
mod world;
