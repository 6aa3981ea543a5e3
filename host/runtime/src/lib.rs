//! Wasmtime engine, limits, instance cache and the host side of every WIT interface.
//!
//! A [`Runtime`] compiles components and core modules ([`Runtime::compile`]) and runs tasks on them
//! ([`Runtime::run`]). It knows nothing of MQTT, images, key brokers or TEEs: a task reaches those through
//! the [`Services`] that it is given, which are traits.
//!
//! # From an engine to a result
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use proplet_component::Component;
//! use proplet_runtime::*;
//! use proplet_types::{Digest, ResourceUri};
//! use zeroize::Zeroizing;
//!
//! /// A machine without a TEE, without secrets, where nothing is published.
//! struct Nothing;
//!
//! #[async_trait]
//! impl Attestor for Nothing {
//!     fn identity(&self) -> WorkloadIdentity {
//!         WorkloadIdentity {
//!             component_digest: Digest::of(b"the component"),
//!             image_digest: None,
//!             policy_digest: None,
//!             settings_digest: Digest::of(b"the settings"),
//!             tee: None,
//!             is_hardware: false,
//!         }
//!     }
//!     async fn evidence(&self, _: &[u8]) -> Result<WorkloadEvidence, AttestationError> {
//!         Err(AttestationError::NoTee)
//!     }
//! }
//!
//! #[async_trait]
//! impl SecretSource for Nothing {
//!     async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
//!         Err(SecretError::NotFound(uri.to_string()))
//!     }
//! }
//!
//! impl ResultSink for Nothing {
//!     fn publish(&self, _: &[u8], _: &str) -> Result<PublishedReceipt, PublishError> {
//!         Err(PublishError::Other("nothing is published here".to_owned()))
//!     }
//!     fn recipients(&self) -> Vec<String> { Vec::new() }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), RuntimeError> {
//! // A component that returns how many inputs it was given.
//! let component = wat::parse_str(r#"
//!     (component
//!       (import "propeller:confidential/inputs@0.1.0" (instance $inputs
//!         (export "count" (func (result u32)))))
//!       (core func $count (canon lower (func $inputs "count")))
//!       (core module $m
//!         (import "host" "count" (func $count (result i32)))
//!         (func (export "run") (result i32) call $count))
//!       (core instance $i (instantiate $m
//!         (with "host" (instance (export "count" (func $count))))))
//!       (func (export "run") (result u32) (canon lift (core func $i "run"))))"#).unwrap();
//!
//! let runtime = Runtime::new(RuntimeConfig::default())?;
//! let compiled = runtime.compile(Arc::new(Component::of(component)), &Owner::Anybody).await?;
//!
//! let nothing = Arc::new(Nothing);
//! let services = Services {
//!     attestation: nothing.clone(),
//!     secrets: nothing.clone(),
//!     results: nothing,
//!     record: Arc::new(Unrecorded),
//! };
//! let mut task = TaskSpec::new("task-1", "run");
//! task.inputs = vec![Input::text("one"), Input::text("two")];
//! let outcome = runtime.run(&compiled, task, services).await;
//!
//! assert_eq!(*outcome.plain_text().unwrap(), "2");
//! # Ok(())
//! # }
//! ```
//!
//! # What keeps tasks apart
//!
//! Every task has a store of its own: its instance, resource table, environment, streams, secrets and
//! counters are made for it and dropped with it. Compiled code is shared between tasks with the same
//! component, and is read-only. Nothing else is shared. A guest has no standard input and none of the host's
//! environment, and no directories and no way to the network but those that it was given ([`Outside`]). A host function works on a view of the calling store that
//! borrows what its interface needs and nothing else, and a linker has the interfaces that were granted and
//! no others.
//!
//! # What a component may import
//!
//! | import | plain | with a policy that counts |
//! | --- | --- | --- |
//! | `propeller:confidential/secrets` | no | if the policy names a secret |
//! | `propeller:confidential/reveal` | no | if the policy lets a secret be revealed |
//! | the other interfaces of `propeller:confidential` | yes | yes |
//! | `wasi:{cli, io, clocks, random}` | yes | yes |
//! | `elastic:hal/{platform, attestation, crypto, clock, random}` | yes | yes |
//! | `wasi:sockets` | yes, and every call that would reach something is denied | the same |
//! | `wasi:filesystem`, `wasi:http/{types, outgoing-handler}` | yes, and what is not in the task's [`Outside`] is denied | the same |
//! | an interface with nothing but names of plain types | yes | yes |
//! | anything else | no | no |
//!
//! Everything that is missing is named at once, before anything is instantiated. A core module may import
//! `wasi_snapshot_preview1` only, with nothing behind its files and sockets either.
//!
//! # What is left of a task
//!
//! Linear memories, tables and stacks come from a pool. When a task ends, the engine gives their pages back
//! to the kernel (`MADV_DONTNEED`), but for the top 32 KiB of the stack, which it overwrites with zeroes; the
//! next task finds zeroes and its own component's initial data. Pages that are given back are not overwritten
//! by this process; the kernel clears a page before it hands it out again, and in a confidential VM all of
//! them are encrypted. Secrets, captured output and
//! values that this crate owns are overwritten when they are dropped. Copies that the engine makes while it
//! carries values of other types than bytes and strings across the boundary are freed without that.
#![deny(missing_docs)]

mod allowance;
mod args;
mod cache;
mod call;
mod cancel;
mod capture;
mod compiled;
mod config;
mod cpu;
mod error;
mod export;
mod gauge;
mod grants;
mod imports;
mod interfaces;
mod limits;
mod linkers;
mod outside;
mod parts;
mod run;
mod runtime;
mod signature;
mod state;
mod task;
mod wave;
mod weight;

pub use cache::Owner;
pub use cancel::CancelToken;
pub use compiled::Compiled;
pub use config::RuntimeConfig;
pub use error::{GuestText, RuntimeError};
pub use gauge::Gauge;
pub use grants::Grants;
pub use interfaces::{
    Services,
    attestation::{AttestationError, Attestor, WorkloadEvidence, WorkloadIdentity},
    audit::{TaskRecord, Unrecorded},
    results::{PublishError, PublishedReceipt, ResultSink},
    secrets::{SecretError, SecretSource},
};
pub use limits::TaskLimits;
pub use outside::{Directory, Outside};
pub use run::{HttpBody, HttpGuest};
pub use runtime::Runtime;
pub use task::{Content, Input, OCTETS, Outcome, TEXT, TaskSpec, Usage, Value};
