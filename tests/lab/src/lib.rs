//! A whole deployment in this process: broker, registry, key broker, Manager and a daemon on a fake TEE.
//!
//! Tests that cross crates and the demo start here. Everything is real but the TEE and the outside
//! world: the daemon is the production library, messages go through a broker, images through the
//! distribution API, keys through the attestation protocol.
#![deny(missing_docs)]

mod addresses;
mod error;
mod lab;
pub mod owner;
mod services;
mod sources;
pub mod workload;

pub use self::addresses::{API_KEY, Addresses, CHANNEL, KEY_ID, PROPLET, TENANT};
pub use self::error::LabError;
pub use self::lab::{Lab, RunningProplet};
pub use self::services::Services;
pub use self::sources::Sources;
