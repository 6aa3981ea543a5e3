//! From a request to an outcome.
//!
//! An [`Executor`] knows nothing of MQTT: the daemon feeds it with messages, `proplet run` and the
//! benchmarks call it directly. A task takes one of two roads, and which one is fixed by its
//! [`Source`]: the plain road never sees the key broker, and the encrypted road never falls
//! back to the plain one.
//!
//! What leaves for an encrypted task is a sealed document and a [`Refusal`]. Text of a guest (its traps, its
//! standard error, the names of its exports) goes into the sealed document only; [`text`] says why.
//!
//! Three lifetimes, one inside the other, and a folder for each:
//!
//! | | lives as long as | is |
//! | --- | --- | --- |
//! | `process` | the process | engine, registries, key broker, what is kept warm |
//! | `workload` | a key broker session, for an encrypted one | [`Workload`]: a component with all that was decided about it |
//! | `run` | one task | its secrets, its result, its receipt |
#![deny(missing_docs)]

pub mod binding;
pub mod certificates;
mod daemon;
mod error;
mod executor;
mod flight;
mod for_others;
pub mod harden;
mod host;
mod identity;
mod image_proxy;
mod in_clear;
mod latent;
mod ledger;
mod manner;
mod outcome;
mod process;
mod quotes;
pub mod refusal;
pub mod request;
mod run;
pub mod shares;
mod stopped;
pub mod text;
pub mod watch;
mod workload;

pub use self::{
    error::ExecutorError,
    executor::Executor,
    host::Host,
    image_proxy::ImageProxy,
    latent::{Invoked, Latent},
    outcome::{TaskError, TaskOutcome},
    process::{CredentialError, KeyBrokerState, Readiness},
    refusal::Refusal,
    request::{Request, Source, Task},
    watch::Watch,
    workload::Workload,
};
