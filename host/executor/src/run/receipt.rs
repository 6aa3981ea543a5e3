//! A receipt in two parts: what is known before the component begins, and how it ended.

use std::{collections::BTreeMap, time::SystemTime};

use proplet_hal::Flavour;
use proplet_jose::jwk::PublicKey;
use proplet_results::{
    ReceiptClaims,
    digest::{of_arguments, of_environment, of_inputs},
    receipt::{RunOutcome, UntrustedTime},
};
use proplet_runtime::TaskLimits;
use proplet_types::{Code, Digest};

use super::Begun;
use crate::{
    identity::Attested,
    manner::UNLIMITED_MS,
    refusal::Refusal,
    request::Task,
    workload::{Release, Workload},
};

/// What a receipt says whatever becomes of the run.
pub(super) struct Draft {
    task_id: String,
    invocation_id: Option<String>,
    component_digest: Digest,
    image_digest: Option<Digest>,
    policy_digest: Option<Digest>,
    settings_digest: Digest,
    attester: String,
    flavour: Flavour,
    arguments_digest: Digest,
    environment_digest: Digest,
    inputs_digest: Digest,
    recipients: Vec<String>,
    limits: BTreeMap<String, u64>,
    started: UntrustedTime,
    evidence_digest: Digest,
}

/// How a run ended.
pub(super) struct Ending<'a> {
    /// Head of the task's chain in the audit log.
    pub audit_head: Digest,
    /// Place of the receipt among those of its key.
    pub sequence: u64,
    /// Well or badly.
    pub outcome: RunOutcome,
    /// The export that was invoked; empty when none was chosen.
    pub export: &'a str,
    /// Digest of what goes out.
    pub result_digest: Digest,
    /// When.
    pub finished: SystemTime,
}

impl Draft {
    pub(super) fn new(
        workload: &Workload,
        release: &Release,
        task: &Task,
        begun: &Begun,
        attested: &Attested,
    ) -> Result<Self, Refusal> {
        let failed = |_| {
            Refusal::new(
                Code::ReceiptFailed,
                "no receipt can be made for the task's arguments, environment or inputs",
            )
        };
        Ok(Self {
            task_id: task.id.clone(),
            invocation_id: begun.manner.invocation().map(str::to_owned),
            component_digest: workload.component_digest,
            image_digest: workload.image_digest,
            policy_digest: workload.policy_digest(),
            settings_digest: release.host.settings_digest,
            attester: release.host.provider.attester().to_owned(),
            flavour: release.host.flavour,
            arguments_digest: of_arguments(&task.arguments).map_err(failed)?,
            environment_digest: of_environment(&task.env).map_err(failed)?,
            inputs_digest: of_inputs(&task.inputs).map_err(failed)?,
            recipients: release
                .recipients
                .iter()
                .map(PublicKey::thumbprint)
                .collect(),
            limits: named(&begun.manner.limits(workload)),
            started: begun.started.into(),
            evidence_digest: attested.digest,
        })
    }

    /// The whole receipt.
    pub(super) fn complete(&self, ending: Ending<'_>) -> ReceiptClaims {
        ReceiptClaims {
            task_id: self.task_id.clone(),
            invocation_id: self.invocation_id.clone(),
            sequence: ending.sequence,
            outcome: ending.outcome,
            component_digest: self.component_digest,
            image_digest: self.image_digest,
            policy_digest: self.policy_digest,
            settings_digest: self.settings_digest,
            attester: self.attester.clone(),
            flavour: self.flavour,
            export: ending.export.to_owned(),
            arguments_digest: self.arguments_digest,
            environment_digest: self.environment_digest,
            inputs_digest: self.inputs_digest,
            result_digest: ending.result_digest,
            recipients: self.recipients.clone(),
            limits: self.limits.clone(),
            untrusted_start: self.started,
            untrusted_finish: ending.finished.into(),
            audit_head: Some(ending.audit_head.to_string()),
            evidence_digest: self.evidence_digest,
        }
    }
}

/// Limits by the names that receipts and settings use.
fn named(limits: &TaskLimits) -> BTreeMap<String, u64> {
    [
        ("memory_bytes", limits.memory_bytes),
        ("wall_clock_ms", limits.wall_clock_ms),
        ("cpu_ms", limits.cpu_ms),
        ("output_bytes", limits.output_bytes),
        ("handles", limits.handles.into()),
        ("evidence_quota", limits.evidence_quota.into()),
        ("secret_quota", limits.secret_quota.into()),
    ]
    .into_iter()
    .filter(|limit| *limit != ("wall_clock_ms", UNLIMITED_MS))
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
