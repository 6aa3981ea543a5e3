//! Verification of evidence, offline and without a TEE.
//!
//! [`verify`] dispatches by the evidence's TEE name and checks everything that follows from the
//! evidence and the pinned roots alone: signatures, certificates, validity at a given time, versions.
//! Whether the report data, the measurement and the init-data are the *expected* ones is the caller's
//! comparison, because only the caller knows what to expect ([`Verified::binds`] helps with the
//! first). A caller that does not compare the measurement knows that *some* VM of this TEE signed,
//! and nothing about what runs in it.

use std::time::SystemTime;

use crate::{Evidence, ReportData, TeeName, sample, snp};

mod error;

pub use error::VerifyError;

/// Which evidence a verifier accepts. Everything not named is refused.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    snp_roots: snp::TrustRoots,
    snp_reports: snp::ReportPolicy,
    sample: bool,
}

impl TrustPolicy {
    /// Hardware only: SNP under AMD's built-in roots. No sample evidence.
    ///
    /// # Errors
    /// As [`snp::TrustRoots::amd`].
    pub fn hardware() -> Result<Self, VerifyError> {
        Ok(Self::with_snp_roots(snp::TrustRoots::amd()?))
    }

    /// SNP under the given roots in place of AMD's. No sample evidence.
    pub fn with_snp_roots(roots: snp::TrustRoots) -> Self {
        Self {
            snp_roots: roots,
            snp_reports: snp::ReportPolicy::default(),
            sample: false,
        }
    }

    /// The same policy with other demands on SNP reports.
    pub fn with_snp_reports(self, snp_reports: snp::ReportPolicy) -> Self {
        Self {
            snp_reports,
            ..self
        }
    }

    /// The same policy, accepting `sample` evidence too. Anybody can write such evidence about
    /// anything, so a verifier that accepts it verifies nothing: for tests and demonstrations.
    pub fn accepting_sample_evidence_that_proves_nothing(self) -> Self {
        Self {
            sample: true,
            ..self
        }
    }
}

/// What stands behind verified evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Anchor {
    /// The hardware vendor's roots, built in.
    Vendor,
    /// Roots that the verifier's owner gave: a newer vendor root, or a test PKI.
    Given,
    /// Nothing: `sample` evidence.
    Nothing,
}

/// Facts about evidence that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The TEE.
    pub tee: TeeName,
    /// What vouches for it.
    pub anchor: Anchor,
    /// The signed report data: 64 bytes for hardware TEEs, padding included; the bytes as sent for
    /// `sample`. Compare with [`Verified::binds`].
    pub report_data: Vec<u8>,
    /// The launch measurement: 48 bytes for SNP; empty for `sample`, which has none.
    pub measurement: Vec<u8>,
    /// HOST_DATA (SNP, 32 bytes). `None` when all zeros (unset) or when the TEE has none.
    pub init_data: Option<Vec<u8>>,
    /// Whether the VM may be debugged by its host, which can then read all its memory. A relying
    /// party that protects anything refuses `true`.
    pub debug: bool,
    /// Whether a migration agent of the host's choice may take the VM's state out (SNP policy bit 18),
    /// and with it everything in its memory. The bit is not part of the launch measurement, so a
    /// relying party that protects anything refuses `true`.
    pub migratable: bool,
    /// The whole SNP report, when the TEE is SNP.
    pub snp: Option<Box<snp::SnpReport>>,
}

impl Verified {
    /// Whether the evidence was made over exactly this report data.
    pub fn binds(&self, expected: &ReportData) -> bool {
        match self.anchor {
            Anchor::Nothing => self.report_data == expected.as_bytes(),
            Anchor::Vendor | Anchor::Given => self.report_data == expected.padded(),
        }
    }
}

/// Verifies evidence of any supported TEE: `snp`, and `sample` where the policy accepts it.
///
/// `now` decides about certificate validity. See the module's documentation for what is left to the
/// caller.
///
/// # Errors
/// [`VerifyError`]; [`VerifyError::Unsupported`] for every other TEE.
pub fn verify(
    evidence: &Evidence,
    policy: &TrustPolicy,
    now: SystemTime,
) -> Result<Verified, VerifyError> {
    match evidence.tee.as_str() {
        "snp" => {
            let roots = &policy.snp_roots;
            let report = snp::verify_with(&evidence.evidence, roots, &policy.snp_reports, now)?;
            Ok(report.into_verified(roots.anchor()))
        }
        "sample" if policy.sample => sample::verify(&evidence.evidence),
        "sample" => Err(VerifyError::SampleRefused),
        _ => Err(VerifyError::Unsupported {
            tee: evidence.tee.clone(),
        }),
    }
}
