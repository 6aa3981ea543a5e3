//! What lives as long as the process: the engine, the ways to get components, and what encrypted tasks
//! need of this machine, or why this machine has none of it.

mod confidential;
mod credentials;
mod fetch;
mod gate;
mod given;
mod owners;
mod reach;
mod readiness;
mod shared;
mod sources;
pub(crate) mod trusted_host;
mod vault;
mod warm;
mod ways;

pub(crate) use self::{
    confidential::Confidential,
    given::Given,
    reach::{OutOfReach, Reach},
    shared::Process,
    vault::{ImageKeys, NewImage},
};
pub use self::{credentials::CredentialError, readiness::Readiness, vault::KeyBrokerState};
