//! Verification of evidence, offline and without a TEE.
//!
//! [`verify`] dispatches by the evidence's TEE name and checks everything that follows from the
//! evidence and the pinned roots alone: signatures, certificates, validity at a given time, versions.
//! Whether the report data, the measurement and the init-data are the *expected* ones is the caller's
//! comparison, because only the caller knows what to expect ([`Verified::binds`] helps with the
//! first). A caller that does not compare the measurement knows that *some* VM of this TEE signed,
//! and nothing about what runs in it.

use std::time::SystemTime;

use crate::snp::{SnpReport, SnpTrust, TrustRoots};
use crate::tdx::{TdxFacts, TdxTrust};
use crate::{Evidence, ReportData, TeeName, sample, snp, tdx};

mod error;

pub use crate::anchor::Anchor;
pub use crate::on_demand::OnDemand;
pub use error::AppraisalError;

/// Which evidence a verifier accepts. Everything not named is refused.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    /// One for each TEE that is accepted.
    accepted: Vec<TeeTrust>,
}

/// What is believed of one TEE, and demanded of its evidence.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TeeTrust {
    /// AMD SEV-SNP.
    Snp(Box<SnpTrust>),
    /// Intel TDX.
    Tdx(Box<TdxTrust>),
    /// Evidence of the `sample` TEE. Anybody can write such evidence about anything, so a verifier that
    /// accepts it verifies nothing: for tests and demonstrations.
    SampleThatProvesNothing,
}

impl TrustPolicy {
    /// Hardware only: SNP under AMD's built-in roots and TDX under Intel's. No sample evidence. TDX needs
    /// collateral besides, see [`TdxTrust::with_collateral`].
    ///
    /// # Errors
    /// As [`TrustRoots::amd`] and [`TdxTrust::intel`].
    pub fn hardware() -> Result<Self, AppraisalError> {
        let tdx = TeeTrust::Tdx(Box::new(TdxTrust::intel()?));
        Ok(Self::with_snp_roots(TrustRoots::amd()?).and(tdx))
    }

    /// SNP under the given roots, with the default demands, and nothing else.
    pub fn with_snp_roots(roots: TrustRoots) -> Self {
        Self::of(TeeTrust::Snp(Box::new(SnpTrust::new(roots))))
    }

    /// No TEE at all: everything is refused, until [`Self::and`] says otherwise.
    pub fn nothing() -> Self {
        Self {
            accepted: Vec::new(),
        }
    }

    /// One TEE and no other.
    pub fn of(trust: TeeTrust) -> Self {
        Self::nothing().and(trust)
    }

    /// The same policy, with this said about its TEE in place of what was.
    #[must_use]
    pub fn and(mut self, trust: TeeTrust) -> Self {
        self.accepted.retain(|other| other.tee() != trust.tee());
        self.accepted.push(trust);
        self
    }

    /// The same policy, accepting `sample` evidence too, see [`TeeTrust::SampleThatProvesNothing`].
    pub fn accepting_sample_evidence_that_proves_nothing(self) -> Self {
        self.and(TeeTrust::SampleThatProvesNothing)
    }
}

impl TeeTrust {
    /// The TEE that this is about.
    pub fn tee(&self) -> TeeName {
        match self {
            Self::Snp(_) => TeeName::SNP,
            Self::Tdx(_) => TeeName::TDX,
            Self::SampleThatProvesNothing => TeeName::SAMPLE,
        }
    }
}

/// Facts about evidence that passed: what a relying party compares whatever the TEE, then the TEE's own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// What vouches for the evidence.
    pub anchor: Anchor,
    /// The signed report data: 64 bytes for hardware TEEs, padding included; the bytes as sent for
    /// `sample`. Compare with [`Verified::binds`].
    pub report_data: Vec<u8>,
    /// The launch measurement: 48 bytes for SNP, and for TDX (MRTD); empty for `sample`, which has none.
    pub measurement: Vec<u8>,
    /// HOST_DATA (SNP, 32 bytes) or MRCONFIGID (TDX, 48 bytes). `None` when all zeros (unset) or when the TEE has none.
    pub init_data: Option<Vec<u8>>,
    /// Whether the VM may be debugged by its host, which can then read all its memory. A relying
    /// party that protects anything refuses `true`.
    pub debug: bool,
    /// Whether a migration agent of the host's choice may take the VM's state out (SNP policy bit 18),
    /// and with it everything in its memory. The bit is not part of the launch measurement, so a
    /// relying party that protects anything refuses `true`.
    pub migratable: bool,
    /// The checks that are made only when the verifier's policy asks for them, as far as they apply here, and
    /// whether they were made. Those that were hold.
    pub on_demand: Vec<OnDemand>,
    /// What only this TEE says.
    pub facts: TeeFacts,
}

/// What evidence of one TEE says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TeeFacts {
    /// The whole SNP report.
    Snp(Box<SnpReport>),
    /// The TDX module's report, the platform and the event log.
    Tdx(Box<TdxFacts>),
    /// The `sample` TEE says nothing.
    Sample,
}

impl Verified {
    /// The TEE that the evidence is of.
    pub fn tee(&self) -> TeeName {
        match self.facts {
            TeeFacts::Snp(_) => TeeName::SNP,
            TeeFacts::Tdx(_) => TeeName::TDX,
            TeeFacts::Sample => TeeName::SAMPLE,
        }
    }

    /// Whether the evidence was made over exactly this report data.
    pub fn binds(&self, expected: &ReportData) -> bool {
        match self.anchor {
            Anchor::Nothing => self.report_data == expected.as_bytes(),
            Anchor::Vendor | Anchor::Given => self.report_data == expected.padded(),
        }
    }

    fn of_snp(report: SnpReport, trust: &SnpTrust) -> Self {
        Self {
            anchor: trust.roots.anchor(),
            on_demand: trust.on_demand(&report).collect(),
            report_data: report.report_data.to_vec(),
            measurement: report.measurement.to_vec(),
            init_data: report.init_data(),
            debug: report.debug,
            migratable: report.migration_agent,
            facts: TeeFacts::Snp(Box::new(report)),
        }
    }

    fn of_tdx(facts: TdxFacts, anchor: Anchor) -> Self {
        let report = &facts.report;
        Self {
            anchor,
            on_demand: Vec::new(),
            report_data: report.report_data.to_vec(),
            measurement: report.mr_td.to_vec(),
            init_data: report.init_data(),
            debug: report.debug(),
            migratable: report.migratable(),
            facts: TeeFacts::Tdx(Box::new(facts)),
        }
    }

    fn of_sample(report_data: Vec<u8>) -> Self {
        Self {
            anchor: Anchor::Nothing,
            report_data,
            measurement: Vec::new(),
            init_data: None,
            debug: false,
            migratable: false,
            on_demand: Vec::new(),
            facts: TeeFacts::Sample,
        }
    }
}

/// Verifies evidence of the TEEs that the policy accepts.
///
/// `now` decides about certificate validity. See the module's documentation for what is left to the
/// caller.
///
/// # Errors
/// [`AppraisalError`]; [`AppraisalError::Unsupported`] for every other TEE.
pub fn verify(
    evidence: &Evidence,
    policy: &TrustPolicy,
    now: SystemTime,
) -> Result<Verified, AppraisalError> {
    let trust = policy
        .accepted
        .iter()
        .find(|trust| trust.tee() == evidence.tee);
    match trust {
        Some(TeeTrust::Snp(trust)) => {
            let report = snp::verify(&evidence.evidence, trust, now)?;
            Ok(Verified::of_snp(report, trust))
        }
        Some(TeeTrust::Tdx(trust)) => {
            let facts = tdx::verify(&evidence.evidence, trust, now)?;
            Ok(Verified::of_tdx(facts, trust.root.anchor()))
        }
        Some(TeeTrust::SampleThatProvesNothing) => {
            let report_data = sample::report_data(&evidence.evidence);
            report_data
                .map(Verified::of_sample)
                .map_err(AppraisalError::Sample)
        }
        None if evidence.tee == TeeName::SAMPLE => Err(AppraisalError::SampleRefused),
        None => Err(AppraisalError::Unsupported {
            tee: evidence.tee.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    #[test]
    fn sample_evidence_is_refused_unless_accepted_in_so_many_words() {
        let sample = Evidence {
            tee: TeeName::SAMPLE,
            evidence: json!({"svn": "1", "report_data": STANDARD.encode([9; 48])}),
        };
        let strict = TrustPolicy::hardware().unwrap();
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(
            verify(&sample, &strict, now),
            Err(AppraisalError::SampleRefused)
        );

        let lenient = strict.accepting_sample_evidence_that_proves_nothing();
        let verified = verify(&sample, &lenient, now).unwrap();
        assert_eq!(verified.anchor, Anchor::Nothing);
        assert_eq!(verified.tee(), TeeName::SAMPLE);
        assert!(verified.binds(&ReportData::new(&[9; 48]).unwrap()));
        assert!(!verified.binds(&ReportData::new(&[9; 49]).unwrap()));
    }

    #[test]
    fn what_is_said_later_about_a_tee_replaces_what_was_said() {
        let roots = TrustRoots::amd().unwrap();
        let lower = SnpTrust {
            minimum_version: 2,
            ..SnpTrust::new(roots)
        };
        let policy = TrustPolicy::hardware()
            .unwrap()
            .accepting_sample_evidence_that_proves_nothing()
            .and(TeeTrust::Snp(Box::new(lower)));
        let snp: Vec<u32> = policy
            .accepted
            .iter()
            .filter_map(|trust| match trust {
                TeeTrust::Snp(trust) => Some(trust.minimum_version),
                _ => None,
            })
            .collect();
        assert_eq!((policy.accepted.len(), snp), (3, vec![2]));
    }
}
