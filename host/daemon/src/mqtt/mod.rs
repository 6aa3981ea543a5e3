//! The connection to the broker.
//!
//! The client library is `rumqttc-v4-next` 0.34. Its better known parent, rumqttc 0.25.1, is pinned to
//! rustls-webpki 0.102, which has open advisories (RUSTSEC-2026-0049, -0098, -0099, -0104) and no fix;
//! the fork uses 0.103, works with ring alone, and reports when the broker acknowledged a publish, which
//! the [outbox] needs.
//!
//! The protocol is MQTT 3.1.1 with a clean session, as the Manager expects of a proplet: what the broker
//! would keep for a client that is away are starts of tasks that the Manager has given up by then. There
//! is **no last will**: the Manager reads every message on the alive topic as a sign of life, so an
//! "offline" there would prolong ours.
//!
//! Six parts share a connection and none waits for another: [`Driver`] polls the event loop and passes
//! commands on; [`acknowledge`] tells the broker which of them it may forget; [`presence`] subscribes, announces
//! and beats; [`delivery`] empties the [`outbox`]; [`requests`] asks the image proxy;
//! [`unasked`] says what is soon said anew.

pub mod acknowledge;
pub(crate) mod backoff;
pub(crate) mod credentials;
pub mod delivery;
mod driver;
mod error;
mod link;
pub mod outbox;
pub mod presence;
mod receipt;
pub mod requests;
mod tls;
mod trouble;
pub mod unasked;

pub use self::{
    driver::{Connection, Driver, Received},
    error::MqttError,
    link::Link,
    receipt::Receipt,
};
