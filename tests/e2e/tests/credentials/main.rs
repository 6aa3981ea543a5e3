//! Credentials of the host that are resources of the key broker: a broker with passwords, one that wants a
//! certificate, and a registry that lets nobody in without.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod broker;
mod registry;
mod scene;
