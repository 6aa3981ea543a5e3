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

use crate::interfaces::secrets::Secret;
use crate::state::TaskState;

/// `reveal-error` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum RevealError {
    #[component(name = "not-granted")]
    NotGranted(String),
    #[component(name = "other")]
    Other(String),
}

/// Adds the interface to a linker.
pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker
        .instance("propeller:confidential/reveal@0.1.0")?
        .func_wrap(
            "reveal",
            |store: StoreContextMut<'_, TaskState>, (secret,): (Resource<Secret>,)| {
                Ok((store.data().reveal(&secret)?,))
            },
        )
}

impl TaskState {
    fn reveal(
        &self,
        secret: &Resource<Secret>,
    ) -> wasmtime::Result<Result<Arc<[u8]>, RevealError>> {
        let secret = self.table.get(secret)?;
        let uri = secret.address();
        if !self.task.grants.may_reveal(uri) {
            return Ok(Err(RevealError::NotGranted(format!(
                "the component's policy does not let `{uri}` be revealed"
            ))));
        }
        if !self.services.secrets.may_reveal(uri) {
            return Ok(Err(RevealError::NotGranted(format!(
                "this host does not let `{uri}` be revealed"
            ))));
        }
        Ok(Ok(secret.bytes()))
    }
}
