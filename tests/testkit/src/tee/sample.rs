//! The sample TEE.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use serde_json::json;

/// The sample TEE of Confidential Containers: its evidence repeats the report data and is signed by
/// nobody. Key brokers release nothing to it unless their policy says so.
#[derive(Debug, Default)]
pub struct Sample {
    calls: AtomicU64,
}

impl Sample {
    /// A sample TEE.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often evidence was asked for.
    pub fn evidence_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl TeeProvider for Sample {
    fn tee(&self) -> TeeName {
        TeeName::SAMPLE
    }

    fn attester(&self) -> &str {
        "sample"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let report_data = STANDARD.encode(report_data.as_bytes());
        let evidence = json!({ "svn": "1", "report_data": report_data });
        Ok(Evidence {
            tee: TeeName::SAMPLE,
            evidence,
        })
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proplet_hal::verify::{Anchor, AppraisalError, TrustPolicy, verify};

    use super::*;

    #[tokio::test]
    async fn its_evidence_passes_only_where_that_is_said() {
        let sample = Sample::new();
        let data = ReportData::new(&[3; 48]).unwrap();
        let evidence = sample.evidence(&data).await.unwrap();
        assert_eq!(
            evidence.evidence,
            json!({ "svn": "1", "report_data": STANDARD.encode([3; 48]) })
        );
        assert_eq!(sample.evidence_calls(), 1);
        assert_eq!(sample.init_data().await, Ok(None));

        let now = SystemTime::now();
        let strict = TrustPolicy::with_snp_roots(crate::tee::test_roots());
        assert_eq!(
            verify(&evidence, &strict, now),
            Err(AppraisalError::SampleRefused)
        );
        let lenient = strict.accepting_sample_evidence_that_proves_nothing();
        let verified = verify(&evidence, &lenient, now).unwrap();
        assert!(verified.binds(&data));
        assert_eq!(verified.anchor, Anchor::Nothing);
    }
}
