//! Fake TEEs.
//!
//! [`FakeSnp`] emits SNP evidence that is real in form: the real verifier parses it, checks its
//! signature and its chain, and refuses it, because the chain ends in a test root that no verifier
//! trusts unless a test hands it [`test_roots`]. The private keys of that chain are committed, so
//! anybody can sign with them. [`FakeTdx`] is the same for TDX: quotes under [`TDX_TEST_ROOT_PEM`], with
//! collateral signed by the same test PKI. [`Sample`] is the sample TEE of Confidential Containers.
//!
//! None protects anything, and all say so: `is_hardware` is false and the attester's name is
//! `fake-snp`, `fake-tdx` or `sample`.

mod hooked;
mod qgs;
mod sample;
mod snp;
mod tdx;
mod trust;
mod tsm;

pub use hooked::HookedTee;
pub use qgs::{QgsFault, QuotingServiceStandIn};
pub use sample::Sample;
pub use snp::{Cpu, FakeSnp, FakeSnpBuilder, Tampering};
pub use tdx::{
    CollateralFault, ComponentStatus, EventLog, FakeTdx, FakeTdxBuilder, Period, Platform,
    QuoteForm, QuoteTampering, ROOT_PEM as TDX_TEST_ROOT_PEM, Revoked, TD_REPORT_LEN, TcbStatus,
    TdxCollateral, TdxCollateralBuilder, TdxPki,
};
pub use trust::{
    TEST_REFERENCE_VALUES, TEST_ROOTS_PEM, test_reference_values, test_roots, test_tdx_trust,
    test_trust,
};
pub use tsm::{
    TsmCounts, TsmDevice, TsmFault, TsmMount, TsmServed, TsmStep, TsmTree, TsmTreeFiles,
};
