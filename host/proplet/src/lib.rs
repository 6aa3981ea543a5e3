//! The proplet daemon and command line.
//!
//! This crate puts the others together: it reads the settings, takes tasks from a broker, decides which
//! may run, has them pulled, decrypted, run and sealed, and reports what came of them.
//!
//! | module | is |
//! | --- | --- |
//! | [`settings`] | the one document that says whom this host trusts, and what the environment may add |
//! | [`harden`] | what the process does to itself first: no core dumps, no debugger, no swap |
//! | [`message`] | Propeller's MQTT messages: hostile text in, exact JSON out |
//! | [`mqtt`] | the connection to the broker, and the outbox in front of it |
//! | [`task`] | a task from start to outcome, without any MQTT |
//! | [`daemon`] | all of it, until a signal |
//! | [`tee`] | the one place where evidence providers are chosen |
//! | [`cli`] | the `proplet` program |
//! | [`refusal`] | the errors that leave the host: code and words |
#![deny(missing_docs)]

pub mod cli;
pub mod daemon;
pub mod harden;
pub mod message;
pub mod mqtt;
mod output;
pub mod refusal;
pub mod settings;
pub mod task;
pub mod tee;
