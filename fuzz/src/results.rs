//! What a relying party is given.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use proplet_hal::verify::TrustPolicy;
use proplet_results::claims::Claims;
use proplet_results::failure::Failure;
use proplet_results::verify::{Expectations, verify, verify_bundle};
use proplet_results::{EvidenceBundle, ReceiptClaims, ResultDocument};

use crate::text;

const DOCUMENT: &str = include_str!("../../host/results/tests/vectors/document-one.json");

/// Inside the validity of every certificate here.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// Claims of either kind: they read as the same again, and the report data is over what is read.
pub fn claims(bytes: &[u8]) -> bool {
    let Ok(claims) = Claims::from_json(bytes) else {
        return false;
    };
    let written = claims.to_jcs().unwrap_or_default();
    let again = Claims::from_json(written.as_bytes());
    assert_eq!(again.as_ref(), Ok(&claims), "{written}");
    assert!(claims.report_data().is_ok());
    true
}

/// A result document: it reads as the same again, and hardware vouches for none that a fuzzer makes.
pub fn document(bytes: &[u8]) -> bool {
    let Some(Ok(document)) = text(bytes).map(ResultDocument::from_text) else {
        return false;
    };
    let written = document.to_text().unwrap_or_default();
    assert_eq!(ResultDocument::from_text(&written).as_ref(), Ok(&document));
    assert_eq!(
        document.jwe_digest().is_ok(),
        document.evidence.digest().is_ok()
    );
    let any = Expectations::of_any_measurement();
    assert!(verify(&document, &HARDWARE, &any, now()).is_err());
    let _ = verify(&document, &SAMPLE, &any, now());
    true
}

/// An evidence bundle, likewise.
pub fn evidence_bundle(bytes: &[u8]) -> bool {
    let Some(Ok(bundle)) = text(bytes).map(str::parse::<EvidenceBundle>) else {
        return false;
    };
    let written = bundle.to_text().unwrap_or_default();
    assert_eq!(
        written.parse::<EvidenceBundle>().ok().as_ref(),
        Some(&bundle)
    );
    let any = Expectations::of_any_measurement();
    assert!(verify_bundle(&bundle, &HARDWARE, &any, now()).is_err());
    let _ = verify_bundle(&bundle, &SAMPLE, &any, now());
    true
}

/// The receipt in a document that is good but for it: it verifies with the claims that were signed, or not at all.
pub fn receipt(bytes: &[u8]) -> bool {
    static GOOD: LazyLock<Option<(ResultDocument, ReceiptClaims)>> = LazyLock::new(|| {
        let document = ResultDocument::from_text(DOCUMENT).ok()?;
        let report = verify(
            &document,
            &SAMPLE,
            &Expectations::of_any_measurement(),
            now(),
        );
        Some((document, report.ok()?.receipt?))
    });
    let Some((good, signed)) = &*GOOD else {
        panic!("the vector does not verify");
    };
    let Some(text) = text(bytes) else {
        return false;
    };
    let document = ResultDocument {
        receipt: text.to_owned(),
        ..good.clone()
    };
    let Ok(report) = verify(
        &document,
        &SAMPLE,
        &Expectations::of_any_measurement(),
        now(),
    ) else {
        return false;
    };
    assert_eq!(report.receipt.as_ref(), Some(signed));
    true
}

/// A failure.
pub fn failure(bytes: &[u8]) -> bool {
    let Ok(failure) = Failure::from_json(bytes) else {
        return false;
    };
    let written = serde_json::to_vec(&failure).unwrap_or_default();
    assert!(Failure::from_json(&written) == Ok(failure));
    true
}

static HARDWARE: LazyLock<TrustPolicy> =
    LazyLock::new(|| TrustPolicy::hardware().unwrap_or_else(|_| TrustPolicy::nothing()));

static SAMPLE: LazyLock<TrustPolicy> =
    LazyLock::new(|| TrustPolicy::nothing().accepting_sample_evidence_that_proves_nothing());
