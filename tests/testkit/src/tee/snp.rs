//! A fake SEV-SNP TEE.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use proplet_hal::verify::snp::SigningKey;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use sev::certs::snp::ecdsa::Signature;
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::TcbVersion;
use sev::parser::ByteParser as _;

const VCEK_KEY: &[u8] = include_bytes!("../../pki/vcek-key.der");
const VCEK: &[u8] = include_bytes!("../../pki/vcek.der");

/// The chip that the test VCEK names. In step with `pki/generate.sh`.
const CHIP_ID: &[u8; 64] = b"proplet test chip: no hardware stands behind this report. (fake)";
/// The TCB that the test VCEK names. In step with `pki/generate.sh`.
const TCB: TcbVersion = TcbVersion {
    fmc: None,
    bootloader: 4,
    tee: 1,
    snp: 24,
    microcode: 219,
};

const SIGNED_LEN: usize = 0x2a0;
const MEASUREMENT_AT: usize = 144;
const REPORT_DATA_AT: usize = 80;
const SIGNATURE_AT: usize = 672;

/// A fake SEV-SNP TEE whose evidence verifies under [`super::test_roots`] and under nothing else.
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
    key: EcdsaKeyPair,
    random: SystemRandom,
    template: AttestationReport,
    tampering: Option<Tampering>,
    failure: Option<EvidenceError>,
    calls: AtomicU64,
}

/// Settings of a [`FakeSnp`]. Without any, it reports a plain Genoa guest without HOST_DATA.
#[derive(Debug, Clone)]
pub struct FakeSnpBuilder {
    template: AttestationReport,
    tampering: Option<Tampering>,
    failure: Option<EvidenceError>,
}

/// The CPUs that a [`FakeSnp`] can report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// EPYC 7003: family 0x19, model 1.
    Milan,
    /// EPYC 9004: family 0x19, model 0x11.
    Genoa,
}

/// What is wrong with the evidence of a sabotaged [`FakeSnp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// One bit of the signature is flipped.
    Signature,
    /// One bit of the measurement is flipped after signing.
    Measurement,
    /// One bit of the report data is flipped after signing.
    ReportData,
    /// The report states, and signs, a newer microcode than its certificate was issued for.
    Tcb,
    /// The report claims, and signs, that a VLEK signed it.
    ClaimsVlek,
    /// The certificate is labelled as a VLEK.
    LabelledVlek,
    /// No certificate comes with the report.
    NoCertificate,
}

impl FakeSnp {
    /// The measurement that is reported unless the builder sets another.
    pub const MEASUREMENT: [u8; 48] = *b"fake launch measurement: nothing measured it ...";

    /// A fake with the default settings.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings for another fake.
    pub fn builder() -> FakeSnpBuilder {
        let template = AttestationReport {
            version: 3,
            // SMT allowed; bit 17 is always set.
            policy: 0x3_0000.into(),
            sig_algo: 1,
            current_tcb: TCB,
            measurement: FakeSnp::MEASUREMENT,
            report_id: [0x5a; 32],
            report_id_ma: [0xff; 32],
            reported_tcb: TCB,
            cpuid_fam_id: Some(0x19),
            cpuid_mod_id: Some(0x11),
            cpuid_step: Some(1),
            chip_id: *CHIP_ID,
            committed_tcb: TCB,
            launch_tcb: TCB,
            ..AttestationReport::default()
        };
        FakeSnpBuilder {
            template,
            tampering: None,
            failure: None,
        }
    }

    /// How often evidence was asked for, failures included.
    pub fn evidence_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
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

impl Default for FakeSnp {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeSnpBuilder {
    /// Reports this launch measurement.
    pub fn measurement(mut self, measurement: [u8; 48]) -> Self {
        self.template.measurement = measurement;
        self
    }

    /// Reports this HOST_DATA, as if the VM had been launched with it.
    pub fn host_data(mut self, host_data: [u8; 32]) -> Self {
        self.template.host_data = host_data;
        self
    }

    /// Reports this chip id. The certificate names another one, so a verifier refuses.
    pub fn chip_id(mut self, chip_id: [u8; 64]) -> Self {
        self.template.chip_id = chip_id;
        self
    }

    /// Reports a guest policy that lets the host debug the VM.
    pub fn debug(mut self, debug: bool) -> Self {
        self.template.policy.set_debug_allowed(debug);
        self
    }

    /// Reports this privilege level. A verifier refuses all but 0.
    pub fn vmpl(mut self, vmpl: u32) -> Self {
        self.template.vmpl = vmpl;
        self
    }

    /// Reports this CPU.
    pub fn cpu(mut self, cpu: Cpu) -> Self {
        self.template.cpuid_mod_id = Some(match cpu {
            Cpu::Milan => 0x01,
            Cpu::Genoa => 0x11,
        });
        self
    }

    /// Writes reports of this version, 2 to 5; 3 unless set. Verifiers refuse 2 unless told otherwise.
    pub fn report_version(mut self, version: u32) -> Self {
        self.template.version = version;
        self
    }

    /// Spoils the evidence in this way.
    pub fn tampering(mut self, tampering: Tampering) -> Self {
        self.tampering = Some(tampering);
        match tampering {
            Tampering::Tcb => self.template.reported_tcb.microcode += 1,
            Tampering::ClaimsVlek => self.template.key_info = (1 << 2).into(),
            _ => {}
        }
        self
    }

    /// Answers every request with this error.
    pub fn failing(mut self, failure: EvidenceError) -> Self {
        self.failure = Some(failure);
        self
    }

    /// The fake.
    #[allow(
        clippy::expect_used,
        reason = "the committed key is constant, and every test loads it"
    )]
    pub fn build(self) -> FakeSnp {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, VCEK_KEY, &random)
            .expect("the committed test key is sound");
        let Self {
            template,
            tampering,
            failure,
        } = self;
        FakeSnp {
            key,
            random,
            template,
            tampering,
            failure,
            calls: AtomicU64::new(0),
        }
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
            Some(Tampering::LabelledVlek) => Some((SigningKey::Vlek, VCEK)),
            _ => Some((SigningKey::Vcek, VCEK)),
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
