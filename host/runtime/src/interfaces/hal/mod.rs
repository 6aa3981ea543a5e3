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
mod call;
mod clock;
mod crypto;
mod names;
mod platform;
mod random;

use std::time::Instant;

use wasmtime::component::Linker;

use self::names::SERVED;
pub(crate) use self::names::UNSERVED;
use super::{Grant, Interface, PerTask, Start};
use crate::state::TaskState;

pub(crate) const INTERFACE: Interface = Interface {
    names: &SERVED,
    grant: Grant::Always,
    add_to_linker,
};

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

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    platform::add_to_linker(&mut linker.instance("elastic:hal/platform@0.1.0")?)?;
    attestation::add_to_linker(&mut linker.instance("elastic:hal/attestation@0.1.0")?)?;
    crypto::add_to_linker(&mut linker.instance("elastic:hal/crypto@0.1.0")?)?;
    clock::add_to_linker(&mut linker.instance("elastic:hal/clock@0.1.0")?)?;
    random::add_to_linker(&mut linker.instance("elastic:hal/random@0.1.0")?)
}

#[cfg(test)]
mod tests;
