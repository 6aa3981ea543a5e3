//! A development key broker that speaks protocol 0.4.0 and verifies evidence.
//!
//! [`DevKeyBroker`] answers as Trustee's KBS with its built-in attestation service and resource
//! storage in memory: the same endpoints, statuses, error types and wording, the same token and JWE
//! forms. It verifies evidence with the same verifier as `proplet verify`, by default under the test
//! PKI of [`crate::tee`], and recomputes the report data itself. It serves plain http on a loopback
//! port.
//!
//! The same port answers as an attestation service with a REST interface does (`/attestation`), whose
//! tokens the broker accepts.
//!
//! It is no key broker to keep secrets in: no TLS, no storage, signing keys that nobody certifies. Resource
//! policies are Rust: of Rego it knows those that allow all or nothing, and those of `docs/trustee`
//! ([`Grants`]). Attestation policies are kept and not evaluated. Administrators are held to what a real one holds them to
//! ([`AdminAccess`]); what they register as a launch measurement's reference value counts. What it adds for tests: counters ([`DevKeyBroker::counts`]), faults
//! ([`DevKeyBroker::inject`]), answers that a test rewrites or a recording gives
//! ([`DevKeyBrokerBuilder::rewrite`], [`DevKeyBroker::replay`]), a clock that tests set
//! ([`TestClock`]), and the loss of sessions and signing keys on demand.

mod admin;
mod administer;
mod answer;
mod attest;
mod attestation_service;
mod broker;
mod builder;
mod clock;
mod dispatch;
mod exchange;
mod fault;
mod grants;
mod policy;
mod recording;
mod refusal;
mod request;
mod service;
mod state;
mod token;

pub use admin::{AdminAccess, Administrator};
pub use attestation_service::DevAttestationService;
pub use broker::DevKeyBroker;
pub use builder::DevKeyBrokerBuilder;
pub use clock::TestClock;
pub use exchange::{Asked, Reply};
pub use fault::{Endpoint, Fault};
pub use grants::Grants;
pub use policy::Policy;
pub use recording::Recorded;
pub use request::ResourceRequest;
pub use state::Counts;

#[cfg(test)]
mod tests;
