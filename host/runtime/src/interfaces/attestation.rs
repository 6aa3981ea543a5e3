//! `propeller:confidential/attestation`: who the component is, and evidence of it.
//!
//! The guest chooses the challenge and nothing else. Length and quota are checked here, before the TEE is
//! asked; the claims are composed by the host's [`Attestor`], which belongs to one task, so no guest can
//! speak for another.

use std::sync::Arc;

use async_trait::async_trait;
use bindings::propeller::confidential::attestation::{self, Host, HostEvidenceBundle};
use proplet_types::Digest;
use ring::digest::{SHA512, digest};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

pub use bindings::propeller::confidential::attestation::AttestationError;

use super::trappable::{self, Trappable, WitError};
use super::{Grant, Interface, PerTask, Start};
use crate::state::TaskState;

/// Most bytes of a challenge.
const MAX_CHALLENGE: usize = 64;

pub(crate) const INTERFACE: Interface = Interface {
    names: &["propeller:confidential/attestation"],
    grant: Grant::Always,
    add_to_linker,
};

/// Who a task's component is and what the TEE says of it. It belongs to one task: no identity is passed, so
/// none can be mixed up.
#[async_trait]
pub trait Attestor: Send + Sync + 'static {
    /// What the component is told about itself and its host. Asked once, when the task starts.
    fn identity(&self) -> WorkloadIdentity;

    /// Evidence over a challenge of at most 64 bytes. The implementation composes the claims; the runtime
    /// has checked the length and the quota.
    ///
    /// # Errors
    /// [`AttestationError`] when there is no TEE or it does not answer; the guest gets it as it is.
    async fn evidence(&self, challenge: &[u8]) -> Result<WorkloadEvidence, AttestationError>;
}

/// Who a component is and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadIdentity {
    /// Digest of the component's bytes.
    pub component_digest: Digest,
    /// Digest of the OCI manifest, when the component came from one.
    pub image_digest: Option<Digest>,
    /// Digest of the policy in force, when one counts.
    pub policy_digest: Option<Digest>,
    /// Digest of the settings document.
    pub settings_digest: Digest,
    /// Short name of the TEE (`snp`, `tdx`, `sample`), when there is one.
    pub tee: Option<String>,
    /// Whether the TEE is hardware and not a fake.
    pub is_hardware: bool,
}

/// Evidence with the claims that it signs.
#[derive(Clone, Debug)]
pub struct WorkloadEvidence {
    /// Short name of the TEE.
    pub tee: String,
    /// The claims, canonical JSON (RFC 8785). The report data is SHA-512 over these bytes.
    pub claims: String,
    /// The evidence in Trustee's JSON form.
    pub evidence: Vec<u8>,
    /// All of it as one JSON document, as `proplet verify` takes it.
    pub document: Vec<u8>,
}

/// What a task keeps: who it is, whom it asks, and how often it has.
pub(crate) struct State {
    identity: WorkloadIdentity,
    task_id: String,
    attestor: Arc<dyn Attestor>,
    quota: u32,
    used: u32,
}

impl State {
    /// How often evidence was asked for.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Who the component is.
    pub(crate) fn identity(&self) -> &WorkloadIdentity {
        &self.identity
    }

    /// Checks a challenge and counts a request for evidence over it; gives whom to ask. It is counted before the
    /// answer: a TEE that fails slowly must not be asked without end either.
    pub(crate) fn ask(&mut self, challenge: &[u8]) -> Result<Arc<dyn Attestor>, AttestationError> {
        if challenge.len() > MAX_CHALLENGE {
            let length = u32::try_from(challenge.len()).unwrap_or(u32::MAX);
            return Err(AttestationError::ChallengeTooLong(length));
        }
        if self.used >= self.quota {
            return Err(AttestationError::QuotaExceeded(self.quota));
        }
        self.used += 1;
        Ok(Arc::clone(&self.attestor))
    }
}

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        let attestor = Arc::clone(&start.services.attestation);
        Self {
            identity: attestor.identity(),
            task_id: start.task.task_id.clone(),
            attestor,
            quota: start.task.limits.evidence_quota,
            used: 0,
        }
    }
}

/// What a call works on.
struct Attestation<'a> {
    state: &'a mut State,
    table: &'a mut ResourceTable,
}

impl HasData for Attestation<'static> {
    type Data<'a> = Attestation<'a>;
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    attestation::add_to_linker::<_, Attestation<'static>>(linker, |store| Attestation {
        state: &mut store.interfaces.attestation,
        table: &mut store.table,
    })
}

/// What an `evidence-bundle` handle stands for.
pub struct Evidence(WorkloadEvidence);

type Error = Trappable<AttestationError>;

impl Host for Attestation<'_> {
    fn component_digest(&mut self) -> wasmtime::Result<String> {
        Ok(self.state.identity.component_digest.to_string())
    }

    fn image_digest(&mut self) -> wasmtime::Result<Option<String>> {
        let digest = self.state.identity.image_digest;
        Ok(digest.map(|digest| digest.to_string()))
    }

    fn policy_digest(&mut self) -> wasmtime::Result<Option<String>> {
        let digest = self.state.identity.policy_digest;
        Ok(digest.map(|digest| digest.to_string()))
    }

    fn settings_digest(&mut self) -> wasmtime::Result<String> {
        Ok(self.state.identity.settings_digest.to_string())
    }

    fn task_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.state.task_id.clone())
    }

    fn tee(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.state.identity.tee.clone())
    }

    fn is_hardware(&mut self) -> wasmtime::Result<bool> {
        Ok(self.state.identity.is_hardware)
    }

    async fn evidence(&mut self, challenge: Vec<u8>) -> Result<Resource<Evidence>, Error> {
        let attestor = self.state.ask(&challenge)?;
        let evidence = attestor.evidence(&challenge).await?;
        trappable::push(self.table, Evidence(evidence))
    }

    fn convert_attestation_error(&mut self, error: Error) -> wasmtime::Result<AttestationError> {
        error.into_wit()
    }
}

impl HostEvidenceBundle for Attestation<'_> {
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

impl WitError for AttestationError {
    fn other(words: String) -> Self {
        Self::Other(words)
    }
}

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../wit/confidential",
        inline: "
            package proplet:host;
            world host { import propeller:confidential/attestation@0.1.0; }
        ",
        world: "proplet:host/host",
        imports: {
            "propeller:confidential/attestation.evidence": async | trappable,
            default: trappable,
        },
        with: { "propeller:confidential/attestation.evidence-bundle": super::Evidence },
        trappable_error_type: {
            "propeller:confidential/attestation.attestation-error" => super::Error,
        },
    });
}
