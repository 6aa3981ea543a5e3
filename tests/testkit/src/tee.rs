//! Fake TEEs.
//!
//! [`FakeSnp`] emits SNP evidence that is real in form: the real verifier parses it, checks its
//! signature and its chain, and refuses it, because the chain ends in a test root that no verifier
//! trusts unless a test hands it [`test_roots`]. The private keys of that chain are committed, so
//! anybody can sign with them. [`Sample`] is the sample TEE of Confidential Containers.
//!
//! Neither protects anything, and both say so: `is_hardware` is false and the attester's name is
//! `fake-snp` or `sample`.

mod sample;
mod snp;

use proplet_hal::snp::TrustRoots;

pub use sample::Sample;
pub use snp::{Cpu, FakeSnp, FakeSnpBuilder, Tampering};

/// The test PKI's root and intermediate certificate, PEM. For a verifier's settings file in tests.
pub const TEST_ROOTS_PEM: &str = concat!(
    include_str!("../pki/ark.pem"),
    include_str!("../pki/ask.pem")
);

/// The test PKI as trust roots: with them, and only with them, [`FakeSnp`]'s evidence verifies.
#[allow(
    clippy::expect_used,
    reason = "the committed certificates are constant, and a test loads them"
)]
pub fn test_roots() -> TrustRoots {
    TrustRoots::from_pem(TEST_ROOTS_PEM.as_bytes()).expect("the committed test PKI is sound")
}
