//! Tests of the client as a whole, over loopback connections.

mod handshake;
mod replay;
mod server;
mod sessions;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use serde_json::json;
use url::Url;

use crate::KbsConfig;

/// The sample attester, which proves nothing.
#[derive(Default)]
struct Sample {
    evidences: AtomicUsize,
}

#[async_trait]
impl TeeProvider for Sample {
    fn tee(&self) -> TeeName {
        "sample".parse().unwrap()
    }

    fn attester(&self) -> &str {
        "sample"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        self.evidences.fetch_add(1, Ordering::SeqCst);
        let report_data = STANDARD.encode(report_data.as_bytes());
        let evidence = json!({ "svn": "1", "report_data": report_data });
        Ok(Evidence {
            tee: self.tee(),
            evidence,
        })
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}

fn sample() -> Arc<Sample> {
    Arc::new(Sample::default())
}

/// Settings for a test server: plain http, and short waits between tries.
fn config(url: &str) -> KbsConfig {
    let mut config = KbsConfig::new(Url::parse(url).unwrap());
    config.allow_http = true;
    config.retry_delay = Duration::from_millis(1);
    config.timeout = Duration::from_secs(20);
    config
}
