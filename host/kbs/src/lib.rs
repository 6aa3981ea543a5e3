//! Client of the Confidential Containers key broker (KBS) protocol 0.4.0, as Trustee v0.14 and later
//! speak it.
//!
//! [`KbsClient`] proves to the KBS what this machine is and gets what the KBS's policy releases to
//! it. The order is fixed: attest, then ask. There is no request without a session, so that a refusal
//! is a refusal and not the usual first step.
//!
//! What this crate keeps apart:
//!
//! * **The token and the session's key stay inside.** No function gives them out, and neither do
//!   messages, logs or `Debug`. A guest that could read the token would be the host to the KBS.
//! * **Which KBS is asked is settings, not data.** Resource addresses that name another host are
//!   refused ([`KbsError::ForeignHost`]), redirects are not followed, and neither proxies nor CAs
//!   come from the environment.
//! * **Refusals are told apart by what the KBS says,** since nearly all of them have status 401. A
//!   denial is final; only a session that the KBS no longer knows leads to another attestation, and
//!   only to one.
//! * **Everything from the network is bounded** in size and time, and cleaned before it is shown.
//!
//! * **One component's session serves no other.** Where the KBS is told which component asks
//!   ([`ComponentBound`]), each component has a session, and so a token and a key, of its own.
//!
//! Released bytes are wiped when dropped. They carry the session that released them, and are not to
//! outlive it.
#![deny(missing_docs)]

pub mod admin;
mod allowance;
pub mod attestation_service;
mod bound;
mod client;
mod config;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
mod http;
mod passport;
mod pool;
pub mod protocol;
mod refusal;
mod resolve;
mod session;
#[cfg(test)]
mod tests;
mod token;
mod witness;

pub use bound::{ComponentBound, PassportIssuer};
pub use client::{KbsClient, Resource};
pub use config::{KbsConfig, MAX_RESOURCE_BYTES};
pub use error::{Failure, KbsError, Peer};
pub use session::{LiveSession, SessionId};
pub use witness::Witness;
