//! The ways that there are. What each asks, and how, is in a module of its own that knows nothing of the others.

use super::kind::Raw;
use super::way::{Way, WayError};
use crate::snp::provider::SevGuest;
use crate::tdx::provider::QuotingService;
use crate::tsm::TsmReports;

impl Way for TsmReports {
    fn name(&self) -> &'static str {
        "configfs-tsm"
    }

    fn attempt(&self, report_data: &[u8; 64]) -> Result<Raw, WayError> {
        Ok(self.request(report_data)?)
    }
}

impl Way for SevGuest {
    fn name(&self) -> &'static str {
        "sev-guest"
    }

    fn attempt(&self, report_data: &[u8; 64]) -> Result<Raw, WayError> {
        Ok(self.report(report_data)?)
    }
}

impl Way for QuotingService {
    fn name(&self) -> &'static str {
        "quoting-service"
    }

    fn attempt(&self, report_data: &[u8; 64]) -> Result<Raw, WayError> {
        let (quote, td_report) = self.quote(report_data)?;
        Ok(Raw {
            evidence: quote,
            td_report: Some(Box::new(td_report)),
            ..Raw::default()
        })
    }
}
