//! What relying parties of the fakes trust.

use proplet_hal::snp::TrustRoots;
use proplet_hal::tdx::{Collateral, TdxRoot, TdxTrust};
use proplet_hal::verify::{TeeTrust, TrustPolicy};

use super::tdx::{ROOT_PEM as TDX_TEST_ROOT_PEM, TdxCollateral};

/// The test PKI's root and intermediate certificate, PEM. For a verifier's settings file in tests.
pub const TEST_ROOTS_PEM: &str = concat!(
    include_str!("../../pki/ark.pem"),
    include_str!("../../pki/ask.pem")
);

/// The test PKI as trust roots: with them, and only with them, [`FakeSnp`](super::FakeSnp)'s evidence verifies.
#[allow(
    clippy::expect_used,
    reason = "the committed certificates are constant, and a test loads them"
)]
pub fn test_roots() -> TrustRoots {
    TrustRoots::from_pem(TEST_ROOTS_PEM.as_bytes()).expect("the committed test PKI is sound")
}

/// The test PKI's TDX root with its collateral: with them, and only with them, [`FakeTdx`](super::FakeTdx)'s evidence verifies.
#[allow(
    clippy::expect_used,
    reason = "the committed root is constant, and a test loads it"
)]
pub fn test_tdx_trust() -> TdxTrust {
    let root =
        TdxRoot::from_pem(TDX_TEST_ROOT_PEM.as_bytes()).expect("the committed root is sound");
    let collateral = TdxCollateral::committed().to_json().to_string();
    let files = [("collateral.json", collateral.as_bytes())];
    let collateral = Collateral::from_files(files).expect("the test PKI's collateral is sound");
    TdxTrust::new(root).with_collateral(collateral)
}

/// What relying parties of the fakes trust: the test PKI for both TEEs, and nothing else.
pub fn test_trust() -> TrustPolicy {
    let tdx = TeeTrust::Tdx(Box::new(test_tdx_trust()));
    TrustPolicy::with_snp_roots(test_roots()).and(tdx)
}
