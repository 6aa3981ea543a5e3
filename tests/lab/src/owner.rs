//! The data owner's side: whom they trust, and how they open a result.

use std::time::SystemTime;

use proplet_hal::verify::TrustPolicy;
use proplet_jose::jwk::PrivateKey;
use proplet_results::verify::Expectations;
use proplet_results::{Opened, ResultDocument, open};
use proplet_testkit::tee::test_roots;

use crate::LabError;

/// What relying parties of a lab trust: the test PKI and nothing else.
#[must_use]
pub fn trust() -> TrustPolicy {
    TrustPolicy::with_snp_roots(test_roots())
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
