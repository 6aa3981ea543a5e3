//! Bad input of every kind, sent to one daemon after another: each is refused with a code and words, in
//! time, and the daemon goes on to serve the next task.
//!
//! Hostile are whoever can publish on the channel, the registry, the network before the key broker, the
//! key broker's answers, and the component itself. After each of them the same good task is run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod guests;
mod images;
mod key_broker;
mod key_packets;
mod mutations;
mod scene;
mod start;
