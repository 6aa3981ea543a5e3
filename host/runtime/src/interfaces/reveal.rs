//! `propeller:confidential/reveal`: the bytes of a secret.
//!
//! Linked only when the policy lets at least one secret be revealed, and checked for each secret at the
//! call. The engine copies the bytes from the host's one buffer straight into the guest's memory. That is
//! why this interface is linked by hand: generated bindings hand out a vector, a second copy that nobody
//! would wipe. What the guest has got is in its linear memory, which goes back to the kernel when the task
//! ends.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource};

use super::secrets::Secret;
use super::{Grant, Interface};
use crate::state::TaskState;

pub(crate) const INTERFACE: Interface = Interface {
    names: &["propeller:confidential/reveal"],
    grant: Grant::Policy {
        grants: |policy| policy.secrets.iter().any(|secret| secret.reveal),
        remedy: "set `reveal = true` for a secret",
    },
    add_to_linker,
};

/// A task keeps nothing: the secrets and what may be done with them are those of
/// [`secrets`](super::secrets).
pub(crate) type State = ();

/// `reveal-error` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum RevealError {
    #[component(name = "not-granted")]
    NotGranted(String),
    #[component(name = "other")]
    Other(String),
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker
        .instance("propeller:confidential/reveal@0.1.0")?
        .func_wrap(
            "reveal",
            |store: StoreContextMut<'_, TaskState>, (secret,): (Resource<Secret>,)| {
                Ok((reveal(store.data(), &secret)?,))
            },
        )
}

fn reveal(
    store: &TaskState,
    secret: &Resource<Secret>,
) -> wasmtime::Result<Result<Arc<[u8]>, RevealError>> {
    let secret = store.table.get(secret)?;
    Ok(match store.interfaces.secrets.withheld(secret.address()) {
        Some(reason) => Err(RevealError::NotGranted(reason)),
        None => Ok(secret.bytes()),
    })
}
