//! Wasmtime engine, limits, instance cache and the host side of every WIT interface.
#![deny(missing_docs)]

mod args;
mod bindings;
mod cache;
mod call;
mod cancel;
mod capture;
mod compiled;
mod config;
mod cpu;
mod error;
mod export;
mod grants;
mod interfaces;
mod limits;
mod linkers;
pub mod policy;
mod runtime;
mod services;
mod signature;
mod state;
mod task;

pub use cancel::CancelToken;
pub use compiled::Compiled;
pub use config::RuntimeConfig;
pub use error::{GuestText, RuntimeError};
pub use grants::Grants;
pub use limits::Limits;
pub use policy::Policy;
pub use runtime::Runtime;
pub use services::{
    AttestationError, Attestor, PublishError, PublishedReceipt, ResultSink, SecretError,
    SecretSource, Services, WorkloadEvidence,
};
pub use task::{Content, Input, OCTETS, Outcome, TEXT, TaskSpec, Usage, Value};
