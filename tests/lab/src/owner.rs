//! The data owner's side: whom they trust, and how they open a result.

use std::time::SystemTime;

use proplet_hal::verify::TrustPolicy;
use proplet_jose::jwk::PrivateKey;
use proplet_results::verify::{Expectations, TdxExpectations};
use proplet_results::{Opened, ResultDocument, open};
use proplet_testkit::tee::{FakeTdx, test_trust};

use crate::LabError;

/// What relying parties of a lab trust: the test PKI, for SNP and TDX, and nothing else.
#[must_use]
pub fn trust() -> TrustPolicy {
    test_trust()
}

/// What the fake TDX says that its firmware started, unless it was given an event log.
#[must_use]
pub fn fake_boot_chain() -> TdxExpectations {
    let [_, kernel, command_line, _] = FakeTdx::RTMRS;
    TdxExpectations {
        rtmrs: [Vec::new(), vec![kernel], vec![command_line], Vec::new()],
        ..TdxExpectations::default()
    }
}

/// Verifies a result down to the test root, now, and opens it.
///
/// # Errors
/// [`LabError::Document`] and [`LabError::Open`].
pub fn open_result(
    key: &PrivateKey,
    results: &str,
    expected: &Expectations,
) -> Result<Opened, LabError> {
    let document = ResultDocument::from_text(results)?;
    let opened = open(&document, key, &trust(), expected, SystemTime::now())?;
    Ok(opened)
}
