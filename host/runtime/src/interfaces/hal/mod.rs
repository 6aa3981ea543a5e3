//! `elastic:hal`, which guests of Propeller import: the five interfaces of it that can be served honestly.
//!
//! Names and types are the package's; what they do is this host's. Evidence is that of
//! [`attestation`](super::attestation), composed by the host and counted against the same quota; nonces and
//! keys are random; what is not there is refused in words. Keys are the guest's own: it holds their bytes, and
//! the host wipes its copies when the call ends.
//!
//! The functions are linked by hand, because generated bindings would hand out private keys in vectors that
//! nobody wipes. A test holds them against the WIT.

mod attestation;
mod clock;
mod crypto;
mod platform;
mod random;

use std::time::Instant;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::{Grant, Interface, PerTask, Start};
use crate::state::TaskState;

/// Bytes that a guest may hand over, or ask for, in one call.
const MAX_BYTES: usize = 16 << 20;

pub(crate) const INTERFACE: Interface = Interface {
    names: &[
        "elastic:hal/platform",
        "elastic:hal/attestation",
        "elastic:hal/crypto",
        "elastic:hal/clock",
        "elastic:hal/random",
    ],
    grant: Grant::Always,
    add_to_linker,
};

/// Interfaces of the package that no host of this kind serves.
pub(crate) const UNSERVED: [&str; 6] = [
    "elastic:hal/sockets",
    "elastic:hal/gpu",
    "elastic:hal/resources",
    "elastic:hal/events",
    "elastic:hal/communication",
    "elastic:hal/storage",
];

/// What a task keeps.
#[derive(Default)]
pub(crate) struct State {
    /// When it first asked for the time.
    started: Option<Instant>,
    contexts: crypto::Contexts,
}

impl PerTask for State {
    fn new(_: &Start<'_>) -> Self {
        Self::default()
    }
}

/// What a call works on.
type Store<'a> = StoreContextMut<'a, TaskState>;
/// What a function returns: its value, or why there is none.
type Answer<T> = Result<T, String>;

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    platform::add_to_linker(&mut linker.instance("elastic:hal/platform@0.1.0")?)?;
    attestation::add_to_linker(&mut linker.instance("elastic:hal/attestation@0.1.0")?)?;
    crypto::add_to_linker(&mut linker.instance("elastic:hal/crypto@0.1.0")?)?;
    clock::add_to_linker(&mut linker.instance("elastic:hal/clock@0.1.0")?)?;
    random::add_to_linker(&mut linker.instance("elastic:hal/random@0.1.0")?)
}

/// The interface without its package.
fn unpackaged(name: &str) -> &str {
    name.split_once('/')
        .map_or(name, |(_, interface)| interface)
}

/// Holds bytes that go in or out to what one call may carry.
fn check_length(what: &str, length: usize) -> Answer<()> {
    if length <= MAX_BYTES {
        return Ok(());
    }
    Err(format!(
        "{what} of {length} bytes are more than the {MAX_BYTES} of one call; use several"
    ))
}

#[cfg(test)]
mod tests;
