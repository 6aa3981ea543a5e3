//! The fake itself.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use proplet_hal::snp::EndorsementKeyKind;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use ring::rand::SystemRandom;
use ring::signature::EcdsaKeyPair;
use sev::certs::snp::ecdsa::Signature;
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

use super::table;
use super::tampering::Tampering;

const SIGNED_LEN: usize = 0x2a0;

const MEASUREMENT_AT: usize = 144;

const REPORT_DATA_AT: usize = 80;

const SIGNATURE_AT: usize = 672;

/// A fake SEV-SNP TEE whose evidence verifies under [`test_roots`](crate::tee::test_roots) and under nothing else.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::SystemTime;
///
/// use proplet_hal::verify::{TrustPolicy, verify};
/// use proplet_hal::{ReportData, TeeProvider as _};
/// use proplet_testkit::tee::{FakeSnp, test_roots};
///
/// let tee = FakeSnp::builder().host_data([7; 32]).build();
/// let data = ReportData::new(b"a digest")?;
/// let evidence = tee.evidence(&data).await?;
///
/// let verified = verify(&evidence, &TrustPolicy::with_snp_roots(test_roots()), SystemTime::now())?;
/// assert!(verified.binds(&data));
/// assert_eq!(verified.init_data.as_deref(), Some(&[7; 32][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FakeSnp {
    pub(super) key: EcdsaKeyPair,
    pub(super) random: SystemRandom,
    pub(super) template: AttestationReport,
    pub(super) endorsement: (EndorsementKeyKind, &'static [u8]),
    pub(super) tampering: Option<Tampering>,
    pub(super) failure: Option<EvidenceError>,
    pub(super) calls: AtomicU64,
}

impl FakeSnp {
    /// The measurement that is reported unless the builder sets another.
    pub const MEASUREMENT: [u8; 48] = *b"fake launch measurement: nothing measured it ...";

    /// How often evidence was asked for, failures included.
    pub fn evidence_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The certificates that a host would give with a report: endorsement key, root and intermediate.
    #[must_use]
    pub fn certificate_table(&self) -> Vec<u8> {
        let (kind, endorsement) = self.endorsement;
        table::of_test_pki(kind, endorsement)
    }

    /// A signed report of 1184 bytes, as firmware would write it.
    ///
    /// # Errors
    /// [`EvidenceError`] when the machine gives no random numbers.
    pub fn report(&self, report_data: &ReportData) -> Result<Vec<u8>, EvidenceError> {
        let refused = |reason: String| EvidenceError::Refused {
            tee: TeeName::SNP,
            reason,
        };
        let mut report = AttestationReport {
            report_data: report_data.padded(),
            ..self.template
        };
        let unsigned = report
            .to_bytes()
            .map_err(|error| refused(error.to_string()))?;
        let signature = self
            .key
            .sign(&self.random, unsigned.get(..SIGNED_LEN).unwrap_or_default())
            .map_err(|_| refused("no random numbers for a signature".to_owned()))?;
        let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
        report.signature = Signature::new(stored_scalar(r), stored_scalar(s));
        let mut bytes = report
            .to_bytes()
            .map_err(|error| refused(error.to_string()))?
            .to_vec();
        let flipped_at = match self.tampering {
            Some(Tampering::Signature) => Some(SIGNATURE_AT),
            Some(Tampering::Measurement) => Some(MEASUREMENT_AT),
            Some(Tampering::ReportData) => Some(REPORT_DATA_AT),
            _ => None,
        };
        if let Some(byte) = flipped_at.and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1;
        }
        Ok(bytes)
    }
}

#[async_trait]
impl TeeProvider for FakeSnp {
    fn tee(&self) -> TeeName {
        TeeName::SNP
    }

    fn attester(&self) -> &str {
        "fake-snp"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let certificate = match self.tampering {
            Some(Tampering::NoCertificate) => None,
            Some(Tampering::LabelledVlek) => Some((EndorsementKeyKind::Vlek, self.endorsement.1)),
            _ => Some(self.endorsement),
        };
        // Signing takes a fraction of a millisecond, less than a move to another thread is worth.
        Evidence::from_snp_report(&self.report(report_data)?, certificate)
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        let host_data = self.template.host_data;
        Ok(host_data
            .iter()
            .any(|byte| *byte != 0)
            .then(|| host_data.to_vec()))
    }
}

/// A big-endian number of at most 72 bytes as reports store it.
fn stored_scalar(big_endian: &[u8]) -> [u8; 72] {
    let mut stored = [0; 72];
    for (to, from) in stored.iter_mut().zip(big_endian.iter().rev()) {
        *to = *from;
    }
    stored
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proplet_hal::snp::{Generation, SnpError, SnpReport, SnpTrust, TrustRoots};
    use proplet_hal::verify::{
        Anchor, AppraisalError, TeeFacts, TeeTrust, TrustPolicy, Verified, verify,
    };

    use super::super::builder::{CHIP_TURIN, Cpu, FakeSnpBuilder};
    use super::*;
    use crate::tee::test_roots;

    fn data() -> ReportData {
        ReportData::new(&[0xab; 48]).unwrap()
    }

    async fn verified(tee: &FakeSnp) -> Result<Verified, AppraisalError> {
        let evidence = tee.evidence(&data()).await.unwrap();
        verify(
            &evidence,
            &TrustPolicy::with_snp_roots(test_roots()),
            SystemTime::now(),
        )
    }

    async fn refused(builder: FakeSnpBuilder) -> SnpError {
        match verified(&builder.build()).await.unwrap_err() {
            AppraisalError::Snp(error) => error,
            error => panic!("{error}"),
        }
    }

    fn report(verified: Verified) -> SnpReport {
        match verified.facts {
            TeeFacts::Snp(report) => *report,
            facts => panic!("{facts:?}"),
        }
    }

    #[tokio::test]
    async fn its_evidence_verifies_under_the_test_roots() {
        let tee = FakeSnp::new();
        let verified = verified(&tee).await.unwrap();
        assert!(verified.binds(&data()));
        assert_eq!(verified.anchor, Anchor::Given);
        assert_eq!(verified.measurement, FakeSnp::MEASUREMENT);
        assert_eq!(verified.init_data, None);
        assert!(!verified.debug);
        assert_eq!(tee.init_data().await, Ok(None));
        assert_eq!(tee.evidence_calls(), 1);
    }

    #[tokio::test]
    async fn what_it_is_told_to_report_is_what_it_reports() {
        let tee = FakeSnp::builder()
            .measurement([1; 48])
            .host_data([2; 32])
            .debug(true)
            .build();
        let facts = verified(&tee).await.unwrap();
        assert_eq!(facts.measurement, [1; 48]);
        assert_eq!(facts.init_data.as_deref(), Some(&[2; 32][..]));
        assert_eq!(tee.init_data().await.unwrap(), facts.init_data);
        assert!(facts.debug, "a debuggable VM passes, and says so");
    }

    #[tokio::test]
    async fn every_cpu_version_and_kind_of_key_verifies() {
        let generations = [
            (Cpu::Milan, Generation::Milan),
            (Cpu::Genoa, Generation::Genoa),
            (Cpu::Turin, Generation::Turin),
        ];
        for (cpu, generation) in generations {
            for version in 3..=5 {
                let tee = FakeSnp::builder().cpu(cpu).report_version(version).build();
                let report = report(verified(&tee).await.unwrap());
                assert_eq!(
                    (report.version, report.generation),
                    (version, Some(generation))
                );
                assert_eq!(report.reported_tcb.fmc.is_some(), cpu == Cpu::Turin);
            }
        }
        let report = report(verified(&FakeSnp::builder().vlek().build()).await.unwrap());
        assert_eq!(report.signing_key, EndorsementKeyKind::Vlek);
    }

    #[tokio::test]
    async fn version_2_needs_a_policy_that_takes_it() {
        let tee = FakeSnp::builder().report_version(2).build();
        let minimum = SnpError::ReportVersion {
            version: 2,
            minimum: 3,
            maximum: 5,
        };
        assert_eq!(verified(&tee).await, Err(minimum.into()));
        let trust = SnpTrust {
            minimum_version: 2,
            ..SnpTrust::new(test_roots())
        };
        let policy = TrustPolicy::of(TeeTrust::Snp(Box::new(trust)));
        let evidence = tee.evidence(&data()).await.unwrap();
        let report = report(verify(&evidence, &policy, SystemTime::now()).unwrap());
        assert_eq!((report.version, report.generation), (2, None));
    }

    #[tokio::test]
    async fn amd_roots_refuse_it() {
        for builder in [FakeSnp::builder(), FakeSnp::builder().vlek()] {
            let evidence = builder.build().evidence(&data()).await.unwrap();
            let refused = verify(
                &evidence,
                &TrustPolicy::hardware().unwrap(),
                SystemTime::now(),
            );
            assert!(
                matches!(
                    refused,
                    Err(AppraisalError::Snp(SnpError::UnknownIssuer { .. }))
                ),
                "{refused:?}"
            );
        }
        assert_eq!(TrustRoots::amd().unwrap().anchor(), Anchor::Vendor);
    }

    #[tokio::test]
    async fn each_tampering_is_refused_for_its_own_reason() {
        let tampered = |tampering| refused(FakeSnp::builder().tampering(tampering));
        for changed in [
            Tampering::Signature,
            Tampering::Measurement,
            Tampering::ReportData,
        ] {
            assert_eq!(
                tampered(changed).await,
                SnpError::ReportSignature,
                "{changed:?}"
            );
        }
        assert_eq!(
            tampered(Tampering::Tcb).await,
            SnpError::Tcb {
                component: "microcode",
                reported: 220,
                certified: 219
            }
        );
        assert_eq!(
            tampered(Tampering::ClaimsVlek).await,
            SnpError::EndorsementKeyKind {
                reported: EndorsementKeyKind::Vlek,
                certificate: EndorsementKeyKind::Vcek
            }
        );
        let labelled = tampered(Tampering::LabelledVlek).await;
        assert!(
            matches!(labelled, SnpError::Certificate { what: "VCEK", .. }),
            "{labelled:?}"
        );
        assert_eq!(
            tampered(Tampering::NoCertificate).await,
            SnpError::NoEndorsement
        );
    }

    #[tokio::test]
    async fn another_chip_and_another_privilege_level_are_refused() {
        for chip in [[1; 64], [0; 64]] {
            assert_eq!(
                refused(FakeSnp::builder().chip_id(chip)).await,
                SnpError::ChipId
            );
        }
        let mut turin = [0; 64];
        turin[..8].copy_from_slice(CHIP_TURIN);
        turin[63] = 1;
        let builder = FakeSnp::builder().cpu(Cpu::Turin).chip_id(turin);
        assert_eq!(refused(builder).await, SnpError::ChipId);
        for vmpl in [1, 3] {
            assert_eq!(
                refused(FakeSnp::builder().vmpl(vmpl)).await,
                SnpError::Vmpl { vmpl }
            );
        }
    }

    #[tokio::test]
    async fn certificates_are_refused_outside_their_time() {
        let evidence = FakeSnp::new().evidence(&data()).await.unwrap();
        let policy = TrustPolicy::with_snp_roots(test_roots());
        let year = Duration::from_secs(365 * 24 * 3600);
        for (now, state) in [
            (SystemTime::UNIX_EPOCH + 49 * year, "not yet valid"),
            (SystemTime::UNIX_EPOCH + 151 * year, "expired"),
        ] {
            assert_eq!(
                verify(&evidence, &policy, now),
                Err(AppraisalError::Snp(SnpError::CertificateTime {
                    what: "VCEK",
                    state
                }))
            );
        }
    }

    #[tokio::test]
    async fn it_fails_as_told_and_counts_that_too() {
        let busy = EvidenceError::Busy { tee: TeeName::SNP };
        let tee = FakeSnp::builder().failing(busy.clone()).build();
        assert_eq!(tee.evidence(&data()).await, Err(busy));
        assert_eq!(tee.evidence_calls(), 1);
    }

    #[test]
    fn it_never_claims_to_be_hardware() {
        let tee = FakeSnp::new();
        assert_eq!(
            (tee.attester(), tee.is_hardware(), tee.tee()),
            ("fake-snp", false, TeeName::SNP)
        );
    }
}
