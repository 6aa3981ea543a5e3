//! An MQTT broker in this process, and a Manager that talks through it.
//!
//! The broker is `mqtt5`, which speaks MQTT 3.1.1 and 5 on one port and stops when it is told to. Every
//! publish is recorded before it is forwarded, so that a test can search the traffic for what must never
//! be in it. It keeps nothing on disk, takes any credentials, and listens on the loopback only.

mod image_proxy;
mod manager;
mod server;
#[cfg(test)]
mod tests;

pub use image_proxy::{ImageProxy, chunk};
pub use manager::{InvocationOutcome, Manager, Outcome, Task};
pub use server::{BrokerError, BrokerSetup, PATIENCE, Recorded, TestBroker, TlsFiles, Visit};
