//! `propeller:confidential/reveal`: the bytes of a secret.
//!
//! Linked only when the policy lets at least one secret be revealed, and checked for each secret at the
//! call. The copy that is handed to the guest is in its linear memory from then on, which the engine gives
//! back to the kernel when the task ends; the copy on the way there is the engine's, made and freed during
//! the call.

use wasmtime::component::Resource;

use crate::bindings::propeller::confidential::reveal::{Host, RevealError};
use crate::interfaces::secrets::Secret;
use crate::state::TaskState;

impl Host for TaskState {
    fn reveal(
        &mut self,
        secret: Resource<Secret>,
    ) -> wasmtime::Result<Result<Vec<u8>, RevealError>> {
        let secret = self.table.get(&secret)?;
        let uri = &secret.uri;
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
        Ok(Ok(secret.bytes.to_vec()))
    }
}
