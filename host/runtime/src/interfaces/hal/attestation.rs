//! `elastic:hal/attestation`.

use wasmtime::component::LinkerInstance;

use super::call::{Answer, Store};
use crate::interfaces::attestation::AttestationError;
use crate::state::TaskState;

pub(super) fn add_to_linker(
    attestation: &mut LinkerInstance<'_, TaskState>,
) -> wasmtime::Result<()> {
    attestation.func_wrap_async("attestation", |store: Store<'_>, (data,): (Vec<u8>,)| {
        Box::new(async move { Ok((evidence(store, &data).await,)) })
    })
}

async fn evidence(mut store: Store<'_>, data: &[u8]) -> Answer<Vec<u8>> {
    let state = &mut store.data_mut().interfaces.attestation;
    let attestor = state.ask(data).map_err(words)?;
    match attestor.evidence(data).await {
        Ok(evidence) => Ok(evidence.document),
        Err(error) => Err(words(error)),
    }
}

pub(super) fn words(error: AttestationError) -> String {
    match error {
        AttestationError::ChallengeTooLong(length) => {
            format!("report data of {length} bytes; at most 64 can be attested")
        }
        AttestationError::NoTee => {
            "this machine has no TEE: there is nothing that could sign evidence".to_owned()
        }
        AttestationError::QuotaExceeded(quota) => {
            format!("this task has used up its quota of {quota} pieces of evidence")
        }
        AttestationError::Unavailable(words) | AttestationError::Other(words) => words,
    }
}
