//! A TEE whose answers wait for a test.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};

type Hook = Box<dyn Fn(u64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Another TEE that does something of the test's before it makes evidence: it waits for a gate, or breaks down.
pub struct HookedTee {
    tee: Arc<dyn TeeProvider>,
    before_evidence: Hook,
    evidence_calls: AtomicU64,
    init_data_calls: AtomicU64,
}

impl HookedTee {
    /// This TEE, which runs `before_evidence` first, with the number of the call. The first is number 0.
    pub fn new<F>(
        tee: Arc<dyn TeeProvider>,
        before_evidence: impl Fn(u64) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            tee,
            before_evidence: Box::new(move |call| Box::pin(before_evidence(call))),
            evidence_calls: AtomicU64::new(0),
            init_data_calls: AtomicU64::new(0),
        }
    }

    /// How often evidence was asked for, what waits included.
    pub fn evidence_calls(&self) -> u64 {
        self.evidence_calls.load(Ordering::Relaxed)
    }

    /// How often it was asked what binds the VM.
    pub fn init_data_calls(&self) -> u64 {
        self.init_data_calls.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl TeeProvider for HookedTee {
    fn tee(&self) -> TeeName {
        self.tee.tee()
    }

    fn attester(&self) -> &str {
        self.tee.attester()
    }

    fn is_hardware(&self) -> bool {
        self.tee.is_hardware()
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        let call = self.evidence_calls.fetch_add(1, Ordering::Relaxed);
        (self.before_evidence)(call).await;
        self.tee.evidence(report_data).await
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        self.init_data_calls.fetch_add(1, Ordering::Relaxed);
        self.tee.init_data().await
    }
}
