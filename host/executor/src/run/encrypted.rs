//! Encrypted tasks: secrets of the owner's repository, and nothing in clear but codes and host text.

use std::sync::{Arc, Mutex};

use proplet_runtime::{CancelToken, Grants, RuntimeError, SecretSource, Services};

use super::{
    Begun,
    receipt::Draft,
    sealing::Sealer,
    secrets::{NoSecrets, Secrets},
    sink::SealedSink,
    spec,
};
use crate::{
    ledger::{Ledger, OwnRecord},
    outcome::TaskOutcome,
    process::{Process, Reach},
    refusal::Refusal,
    request::Task,
    stopped::unless_stopped,
    workload::{Release, Workload},
};

impl Process {
    pub(super) async fn run_encrypted(
        &self,
        workload: &Workload,
        release: &Release,
        task: Task,
        begun: Begun,
        cancel: CancelToken,
    ) -> TaskOutcome {
        let sealer = self.sealer(workload, release, &task, &begun);
        let sealer = match unless_stopped(&cancel, sealer).await {
            Ok(sealer) => sealer,
            Err(refusal) => return TaskOutcome::failed(refusal),
        };
        // To gather evidence takes as long as the TEE wants.
        if let Err(refusal) = release.still_holds() {
            return TaskOutcome::failed(refusal);
        }
        let code = match &workload.code {
            Ok(code) => code,
            Err(error) => return sealer.failure("", error, &[]),
        };
        let (grants, secrets): (_, Arc<dyn SecretSource>) = match &release.policy {
            Some(embedded) => (
                Grants::from_policy(Arc::clone(&embedded.policy)),
                Arc::new(Secrets(Reach {
                    vault: Arc::clone(&release.host.vault),
                    repository: release.kid.repository().to_owned(),
                    component: release.component.clone(),
                    key_types: self.settings.confidential.image_key_types.clone(),
                    ledger: Ledger::Task(begun.record.clone()),
                    given: begun.manner.given(),
                })),
            ),
            None => (Grants::plain(), Arc::new(NoSecrets)),
        };
        let attestation = self.attestor(workload, &task.id, &begun.record);
        let policy = release.policy.as_ref();
        let policy = policy.map(|embedded| &*embedded.policy);
        let outside = match self.ways.encrypted(policy, release.kid.repository()) {
            Ok(outside) => outside,
            Err(refusal) => return TaskOutcome::failed(refusal),
        };
        let spec = spec((workload, &begun.manner), task, grants, outside, cancel);
        if code.answers_http(&spec) {
            return sealer.failure("", &RuntimeError::HttpEncrypted, &[]);
        }
        let sink = Arc::new(SealedSink {
            // A component that publishes gets its receipt before it ends, so the export is chosen here;
            // without one the run ends before the component begins.
            export: code.invoked_export(&spec).unwrap_or_default(),
            sealer,
            published: Mutex::default(),
        });
        let services = Services {
            attestation,
            secrets,
            results: Arc::clone(&sink) as _,
            record: Arc::new(OwnRecord(begun.record.clone())),
        };
        let run = self.runtime.run(code, spec, services).await;
        sink.finish(&run)
    }

    /// What seals the task's end, whatever it is: evidence for the receipt key, and a receipt but for the
    /// ending.
    async fn sealer(
        &self,
        workload: &Workload,
        release: &Release,
        task: &Task,
        begun: &Begun,
    ) -> Result<Sealer, Refusal> {
        release.still_holds()?;
        let host = &release.host;
        let attested = host
            .instance
            .attest(
                release.session,
                &host.provider,
                &host.receipt_key,
                &host.settings_digest,
                host.flavour,
                &host.audit,
            )
            .await?;
        Ok(Sealer {
            draft: Draft::new(workload, release, task, begun, &attested)?,
            recipients: release.recipients.clone(),
            key: Arc::clone(&host.receipt_key),
            clock: Arc::clone(&self.clock),
            record: begun.record.clone(),
            attested,
        })
    }
}
