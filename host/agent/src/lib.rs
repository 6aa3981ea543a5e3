//! The interfaces of Confidential Containers' guest components, for programs that have them in use.
//!
//! | interface | is | served by |
//! | --- | --- | --- |
//! | Attestation Agent ([`AttestationAgent`]) | evidence and tokens about this VM | the daemon, where `[agent]` of the settings asks for it |
//! | key provider, unwrapping ([`KeyUnwrapper`]) | keys of image layers | the daemon, on a host that takes no encrypted tasks |
//! | key provider, wrapping ([`KeyWrapper`]) | the same for `skopeo copy --encryption-key` | `proplet keyprovider`, on the machine that encrypts |
//!
//! They are everybody's on the machine they run on ([`server`]), so each gives only what everybody there may have.
//! Components are not among "everybody": nothing of a component's leads to a loopback address.
#![deny(missing_docs)]

pub mod attestation;
pub mod key_provider;
pub mod messages;
mod quota;
pub mod server;
mod status;

pub use self::{
    attestation::{AttestationAgent, Witness},
    key_provider::{KeyChest, KeyUnwrapper, KeyWrapper},
    server::{Interface, ListenError, Listener, Serving},
};
