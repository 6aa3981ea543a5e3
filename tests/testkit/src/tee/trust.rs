//! What relying parties of the fakes trust.

use proplet_hal::reference_values::ReferenceValues;
use proplet_hal::snp::TrustRoots;
use proplet_hal::tdx::{Collateral, TdxRoot, TdxTrust};
use proplet_hal::verify::{TeeTrust, TrustPolicy};

use super::tdx::{ROOT_PEM as TDX_TEST_ROOT_PEM, TdxCollateral};

/// The test PKI's root and intermediate certificate, PEM. For a verifier's settings file in tests.
pub const TEST_ROOTS_PEM: &str = concat!(
    include_str!("../../pki/ark.pem"),
    include_str!("../../pki/ask.pem")
);

/// What the fakes report unless they are told otherwise, as a file of reference values for both TEEs: what
/// relying parties, the development key broker and `proplet verify` take.
pub const TEST_REFERENCE_VALUES: &str = include_str!("../reference-values.toml");

/// [`TEST_REFERENCE_VALUES`], read.
#[allow(
    clippy::expect_used,
    reason = "the committed values are constant, and a test loads them"
)]
pub fn test_reference_values() -> ReferenceValues {
    ReferenceValues::from_toml(TEST_REFERENCE_VALUES).expect("the committed values are sound")
}

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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proplet_hal::verify::verify;
    use proplet_hal::{ReportData, TeeProvider};

    use super::super::{FakeSnp, FakeTdx};
    use super::*;

    #[tokio::test]
    async fn the_reference_values_are_those_of_the_fakes_and_of_no_others() {
        let values = test_reference_values();
        let policy = values.trust_policy(test_roots(), test_tdx_trust());
        let asked = ReportData::new(&[7; 48]).unwrap();
        let known = async |tee: &dyn TeeProvider| {
            let evidence = tee.evidence(&asked).await.unwrap();
            values.know(&verify(&evidence, &policy, SystemTime::now()).unwrap())
        };
        assert!(known(&FakeSnp::new()).await);
        assert!(known(&FakeTdx::new()).await);
        let other = FakeSnp::builder().measurement([1; 48]).build();
        assert!(!known(&other).await);
        let mut rtmrs = FakeTdx::RTMRS;
        rtmrs[2] = [1; 48];
        for other in [
            FakeTdx::builder().measurement([1; 48]).build(),
            FakeTdx::builder().rtmrs(rtmrs).build(),
        ] {
            assert!(!known(&other).await);
        }
    }
}
