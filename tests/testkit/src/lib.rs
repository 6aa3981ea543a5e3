//! Fake TEEs, development servers and the guest builder: what tests, the demo and people without
//! hardware use in place of the outside world.
//!
//! Nothing here protects anything. No production crate depends on this one, by feature or otherwise:
//! `cargo tree -p proplet -e normal` proves it. Fakes are structurally real: they emit evidence that
//! the real verifiers parse and check, under a test root that no real verifier trusts.
#![deny(missing_docs)]

pub mod broker;
pub mod forge;
pub mod grpc;
pub mod guests;
pub mod kbs;
pub mod link;
pub mod pccs;
pub mod ports;
pub mod proxy;
pub mod registry;
pub mod tee;
