//! Who a component is, and who this host is, as the TEE signs it.

use std::sync::Arc;

use async_trait::async_trait;
use proplet_audit::{Audit, Event, TaskLog};
use proplet_hal::{Flavour, TeeProvider};
use proplet_kbs::SessionId;
use proplet_results::{
    EvidenceBundle, ReceiptKey,
    claims::{Claims, WorkloadClaims},
};
use proplet_runtime::{AttestationError, Attestor, WorkloadEvidence, WorkloadIdentity};
use proplet_types::{Code, Digest};

use crate::{
    flight::Flight, host_text, ledger::Ledger, quotes::GuestQueue, refusal::Refusal, text::Known,
};

/// Speaks for one task's component. The component chooses the challenge and nothing else.
pub(crate) struct TaskAttestor {
    pub provider: Option<Arc<dyn TeeProvider>>,
    /// Name of the TEE, kept because the provider makes it anew at each call.
    pub tee: Option<String>,
    /// Where guests wait for the TEE.
    pub queue: Arc<GuestQueue>,
    pub receipt_key: Arc<ReceiptKey>,
    pub settings_digest: Digest,
    pub flavour: Flavour,
    pub component_digest: Digest,
    pub image_digest: Option<Digest>,
    pub policy_digest: Option<Digest>,
    pub task_id: String,
    pub record: TaskLog,
}

impl TaskAttestor {
    fn claims(
        &self,
        provider: &dyn TeeProvider,
        challenge: &[u8],
    ) -> Result<Claims, AttestationError> {
        let workload = WorkloadClaims {
            component_digest: self.component_digest,
            image_digest: self.image_digest,
            policy_digest: self.policy_digest,
            task_id: self.task_id.clone(),
        };
        let settings = self.settings_digest;
        Claims::workload(
            challenge,
            &self.receipt_key,
            settings,
            provider.attester(),
            workload,
        )
        .map(|claims| claims.with_flavour(self.flavour))
        .map_err(|error| AttestationError::Other(error.to_string()))
    }
}

#[async_trait]
impl Attestor for TaskAttestor {
    fn identity(&self) -> WorkloadIdentity {
        let provider = self.provider.as_deref();
        WorkloadIdentity {
            component_digest: self.component_digest,
            image_digest: self.image_digest,
            policy_digest: self.policy_digest,
            settings_digest: self.settings_digest,
            tee: self.tee.clone(),
            is_hardware: provider.is_some_and(TeeProvider::is_hardware),
        }
    }

    async fn evidence(&self, challenge: &[u8]) -> Result<WorkloadEvidence, AttestationError> {
        let digest = Digest::of(challenge);
        let event = |refused| Event::WorkloadEvidence {
            challenge: digest,
            refused,
        };
        let ledger = Ledger::Task(self.record.clone());
        ledger.asked(event, word, self.gather(challenge)).await
    }
}

/// One word for the record.
fn word(error: &AttestationError) -> &'static str {
    match error {
        AttestationError::NoTee => Code::NoTee.as_str(),
        _ => Code::EvidenceUnavailable.as_str(),
    }
}

impl TaskAttestor {
    async fn gather(&self, challenge: &[u8]) -> Result<WorkloadEvidence, AttestationError> {
        let provider = self.provider.as_deref().ok_or(AttestationError::NoTee)?;
        let claims = self.claims(provider, challenge)?;
        let _turn = self.queue.turn().await.ok_or_else(|| {
            AttestationError::Unavailable(
                "too many components wait for evidence on this machine: ask again in a moment"
                    .to_owned(),
            )
        })?;
        let unavailable =
            |error: &dyn std::fmt::Display| AttestationError::Unavailable(error.to_string());
        let bundle = EvidenceBundle::gather(provider, &claims)
            .await
            .map_err(|error| unavailable(&error))?;
        let evidence = serde_json::to_vec(&bundle.evidence).map_err(|error| unavailable(&error))?;
        Ok(WorkloadEvidence {
            tee: bundle.tee.to_string(),
            claims: claims.to_jcs().map_err(|error| unavailable(&error))?,
            evidence,
            document: bundle
                .to_text()
                .map_err(|error| unavailable(&error))?
                .into_bytes(),
        })
    }
}

/// Evidence that vouches for the receipt key: one quote for each key broker session, however many tasks.
#[derive(Default)]
pub(crate) struct Instance(Flight<SessionId, Attested, Refusal>);

/// The evidence of one session.
#[derive(Clone)]
pub(crate) struct Attested {
    /// The evidence bundle as it goes into result documents. As text: to write its thousands of numbers
    /// again for every result would cost more than to seal the result.
    pub bundle: Arc<str>,
    /// Its digest, as receipts name it.
    pub digest: Digest,
}

impl Instance {
    /// The evidence of this session, made now if there is none.
    pub(crate) async fn attest(
        &self,
        session: SessionId,
        provider: &Arc<dyn TeeProvider>,
        key: &Arc<ReceiptKey>,
        settings_digest: &Digest,
        flavour: Flavour,
        audit: &Audit,
    ) -> Result<Attested, Refusal> {
        let aborted = failed(&"the request ended inside this process; see its log");
        let (provider, key, settings) = (Arc::clone(provider), Arc::clone(key), *settings_digest);
        let audit = audit.clone();
        let make = || async move {
            // The head as it is now: what led to this evidence is vouched for by it.
            let head = audit.head();
            let gathered = gather(provider.as_ref(), &key, settings, flavour, head).await;
            audit.record(Event::InstanceEvidence {
                refused: gathered.as_ref().err().map(|error| error.code().as_str()),
            });
            gathered
        };
        self.0.get(session, aborted, make).await
    }
}

async fn gather(
    provider: &dyn TeeProvider,
    key: &ReceiptKey,
    settings_digest: Digest,
    flavour: Flavour,
    audit_head: Digest,
) -> Result<Attested, Refusal> {
    let claims = Claims::instance(key, settings_digest, provider.attester())
        .map_err(|error| failed(&error))?
        .with_flavour(flavour)
        .with_audit_head(audit_head);
    let bundle = EvidenceBundle::gather(provider, &claims)
        .await
        .map_err(|error| failed(&error))?;
    Ok(Attested {
        digest: bundle.digest().map_err(|error| failed(&error))?,
        bundle: bundle.to_text().map_err(|error| failed(&error))?.into(),
    })
}

fn failed(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        Code::EvidenceUnavailable,
        host_text!(
            "no evidence for the receipt key: {}",
            Known::of_machine(error)
        ),
    )
}

#[cfg(test)]
mod tests {
    use proplet_audit::Boot;
    use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName};
    use proplet_types::SystemClock;
    use tokio::task::yield_now;

    use super::*;

    /// Never has done.
    struct Slow;

    #[async_trait]
    impl TeeProvider for Slow {
        fn tee(&self) -> TeeName {
            TeeName::SNP
        }

        fn attester(&self) -> &str {
            "slow"
        }

        fn is_hardware(&self) -> bool {
            true
        }

        async fn evidence(&self, _: &ReportData) -> Result<Evidence, EvidenceError> {
            std::future::pending().await
        }

        async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn evidence_that_no_component_waited_for_is_on_record() {
        let digest = Digest::of(b"any");
        let boot = Boot {
            version: "1".to_owned(),
            settings: digest,
        };
        let audit = Audit::in_memory(Arc::new(SystemClock), boot).unwrap();
        let record = audit.begin("task");
        let attestor = TaskAttestor {
            provider: Some(Arc::new(Slow)),
            tee: None,
            queue: Arc::default(),
            receipt_key: Arc::new(ReceiptKey::generate().unwrap()),
            settings_digest: digest,
            flavour: Flavour::Sealed,
            component_digest: digest,
            image_digest: None,
            policy_digest: None,
            task_id: "task".to_owned(),
            record: record.clone(),
        };
        tokio::select! {
            biased;
            _ = attestor.evidence(b"challenge") => panic!("there is evidence"),
            () = yield_now() => {}
        }
        let (lines, _) = record.entries();
        assert_eq!(lines.len(), 1);
        let expected = "\"code\":\"interrupted\",\"kind\":\"evidence\"";
        assert!(lines[0].contains(expected), "{}", lines[0]);
    }
}
