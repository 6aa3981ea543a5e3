//! The production providers on what stands in for hardware: the emulated TSM interface, in memory and as
//! files, and the stand-in for the quoting service. What they give verifies under the test PKIs, and each
//! fault of the kernel or the service ends as it should.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod quoting_service;
mod tsm;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::hardware::{HardwareKind, HardwareTee, Way};
use proplet_hal::tdx::Quote;
use proplet_hal::verify::{TrustPolicy, verify};
use proplet_hal::{Evidence, ReportData, TeeProvider as _};
use proplet_testkit::tee::test_roots;
use proplet_types::Code;

fn asked() -> ReportData {
    ReportData::new(&[0x5a; 48]).unwrap()
}

/// The production provider, which asks these ways in turn.
fn tee(kind: HardwareKind, ways: Vec<Box<dyn Way>>) -> HardwareTee {
    HardwareTee::with_ways(kind, ways).with_patience(Duration::from_secs(600))
}

/// How asking for evidence ends. What comes verifies under the test PKI, over what was asked.
async fn outcome(tee: &HardwareTee) -> Result<(), Code> {
    let evidence = tee.evidence(&asked()).await.map_err(|error| error.code())?;
    if evidence.tee == HardwareKind::Snp.tee() {
        let policy = TrustPolicy::with_snp_roots(test_roots());
        let verified = verify(&evidence, &policy, SystemTime::now()).unwrap();
        assert!(verified.binds(&asked()));
    } else {
        verify_quote(&evidence);
    }
    Ok(())
}

fn verify_quote(evidence: &Evidence) {
    let quote = evidence.evidence["quote"].as_str().unwrap();
    let quote = Quote::parse(&STANDARD.decode(quote).unwrap()).unwrap();
    assert_eq!(quote.report.report_data, asked().padded());
}
