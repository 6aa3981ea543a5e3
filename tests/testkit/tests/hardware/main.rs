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

use proplet_hal::hardware::{HardwareKind, HardwareTee, Way};
use proplet_hal::verify::verify;
use proplet_hal::{ReportData, TeeProvider as _};
use proplet_testkit::tee::test_trust;
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
    let verified = verify(&evidence, &test_trust(), SystemTime::now()).unwrap();
    assert!(verified.binds(&asked()));
    Ok(())
}
