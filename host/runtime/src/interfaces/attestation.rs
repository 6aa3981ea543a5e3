//! `propeller:confidential/attestation`: who the component is, and evidence of it.
//!
//! The guest chooses the challenge and nothing else. Length and quota are checked here, before the TEE is
//! asked; the claims are composed by the host's [`Attestor`](crate::Attestor), so no guest can speak for
//! another.

use ring::digest::{SHA512, digest};
use wasmtime::component::{Resource, ResourceTableError};

use crate::bindings::propeller::confidential::attestation::{
    AttestationError, Host, HostEvidenceBundle,
};
use crate::services::{self, WorkloadEvidence};
use crate::state::TaskState;

/// Most bytes of a challenge.
const MAX_CHALLENGE: usize = 64;

/// What an `evidence-bundle` handle stands for.
pub struct Evidence(WorkloadEvidence);

impl Host for TaskState {
    fn component_digest(&mut self) -> wasmtime::Result<String> {
        Ok(self.services.attestation.component_digest().to_owned())
    }

    fn image_digest(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.services.attestation.image_digest().map(str::to_owned))
    }

    fn policy_digest(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.services.attestation.policy_digest().map(str::to_owned))
    }

    fn settings_digest(&mut self) -> wasmtime::Result<String> {
        Ok(self.services.attestation.settings_digest().to_owned())
    }

    fn task_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.task.task_id.clone())
    }

    fn tee(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.services.attestation.tee().map(str::to_owned))
    }

    fn is_hardware(&mut self) -> wasmtime::Result<bool> {
        Ok(self.services.attestation.is_hardware())
    }

    async fn evidence(
        &mut self,
        challenge: Vec<u8>,
    ) -> wasmtime::Result<Result<Resource<Evidence>, AttestationError>> {
        if challenge.len() > MAX_CHALLENGE {
            let length = u32::try_from(challenge.len()).unwrap_or(u32::MAX);
            return Ok(Err(AttestationError::ChallengeTooLong(length)));
        }
        let quota = self.task.limits.evidence_quota;
        if self.evidence >= quota {
            return Ok(Err(AttestationError::QuotaExceeded(quota)));
        }
        // Counted before the answer: a TEE that fails slowly must not be asked without end either.
        self.evidence += 1;
        let evidence = match self.services.attestation.evidence(&challenge).await {
            Ok(evidence) => evidence,
            Err(error) => return Ok(Err(error.into())),
        };
        match self.table.push(Evidence(evidence)) {
            Ok(handle) => Ok(Ok(handle)),
            Err(ResourceTableError::Full) => Ok(Err(AttestationError::Other(format!(
                "the task holds {} handles, as many as it may; drop some first",
                self.task.limits.handles
            )))),
            Err(error) => Err(error.into()),
        }
    }
}

impl HostEvidenceBundle for TaskState {
    fn tee(&mut self, bundle: Resource<Evidence>) -> wasmtime::Result<String> {
        Ok(self.table.get(&bundle)?.0.tee.clone())
    }

    fn claims(&mut self, bundle: Resource<Evidence>) -> wasmtime::Result<String> {
        Ok(self.table.get(&bundle)?.0.claims.clone())
    }

    fn report_data(&mut self, bundle: Resource<Evidence>) -> wasmtime::Result<Vec<u8>> {
        let claims = &self.table.get(&bundle)?.0.claims;
        Ok(digest(&SHA512, claims.as_bytes()).as_ref().to_vec())
    }

    fn evidence(&mut self, bundle: Resource<Evidence>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&bundle)?.0.evidence.clone())
    }

    fn to_json(&mut self, bundle: Resource<Evidence>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&bundle)?.0.document.clone())
    }

    fn drop(&mut self, bundle: Resource<Evidence>) -> wasmtime::Result<()> {
        self.table.delete(bundle)?;
        Ok(())
    }
}

impl From<services::AttestationError> for AttestationError {
    fn from(error: services::AttestationError) -> Self {
        match error {
            services::AttestationError::NoTee => Self::NoTee,
            services::AttestationError::Unavailable(text) => Self::Unavailable(text),
            services::AttestationError::Other(text) => Self::Other(text),
        }
    }
}
