//! Settings of the fake SNP TEE.

use std::sync::atomic::AtomicU64;

use proplet_hal::snp::EndorsementKeyKind;
use proplet_hal::{EvidenceError, ReportData};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::TcbVersion;

use super::fake::FakeSnp;
use super::tampering::Tampering;

const CHIP_KEY: &[u8] = include_bytes!("../../../pki/chip-key.der");
const VCEK_GENOA: &[u8] = include_bytes!("../../../pki/vcek-genoa.der");
const VCEK_TURIN: &[u8] = include_bytes!("../../../pki/vcek-turin.der");
const VLEK: &[u8] = include_bytes!("../../../pki/vlek.der");

/// The chip and TCB that `vcek-genoa.der` names. In step with `pki/generate.sh`.
const CHIP_GENOA: &[u8; 64] = b"proplet test chip: no hardware stands behind this report. (fake)";
const TCB_GENOA: TcbVersion = TcbVersion {
    fmc: None,
    bootloader: 4,
    tee: 1,
    snp: 24,
    microcode: 219,
};
/// The chip and TCB that `vcek-turin.der` names. Turin's chip ids have 8 bytes.
pub(super) const CHIP_TURIN: &[u8; 8] = b"fakechip";
const TCB_TURIN: TcbVersion = TcbVersion {
    fmc: Some(1),
    bootloader: 2,
    tee: 1,
    snp: 5,
    microcode: 80,
};

/// KEY_INFO of a report that a VLEK signed.
const VLEK_SIGNS: u32 = 1 << 2;

/// Settings of a [`FakeSnp`]. Without any, it reports a plain Genoa guest without HOST_DATA.
#[derive(Debug, Clone)]
#[must_use]
pub struct FakeSnpBuilder {
    template: AttestationReport,
    endorsement: (EndorsementKeyKind, &'static [u8]),
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
    /// EPYC 9005: family 0x1a, model 0x02. Its TCB and chip id have another form.
    Turin,
}

impl FakeSnp {
    /// A fake with the default settings.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings for another fake.
    pub fn builder() -> FakeSnpBuilder {
        FakeSnpBuilder::new()
    }
}

impl Default for FakeSnp {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeSnpBuilder {
    pub(super) fn new() -> Self {
        let template = AttestationReport {
            version: 3,
            // SMT allowed; bit 17 is always set.
            policy: 0x3_0000.into(),
            sig_algo: 1,
            measurement: FakeSnp::MEASUREMENT,
            report_id: [0x5a; 32],
            report_id_ma: [0xff; 32],
            cpuid_step: Some(1),
            ..AttestationReport::default()
        };
        let builder = Self {
            template,
            endorsement: (EndorsementKeyKind::Vcek, VCEK_GENOA),
            tampering: None,
            failure: None,
        };
        builder.cpu(Cpu::Genoa)
    }

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

    /// Reports a guest policy that lets a migration agent take the VM's state out.
    pub fn migratable(mut self, migratable: bool) -> Self {
        self.template.policy.set_migrate_ma_allowed(migratable);
        self
    }

    /// Reports this privilege level. A verifier refuses all but 0.
    pub fn vmpl(mut self, vmpl: u32) -> Self {
        self.template.vmpl = vmpl;
        self
    }

    /// Reports this CPU, with a chip id, TCB and VCEK of its form. Set a chip id of your own after it.
    pub fn cpu(mut self, cpu: Cpu) -> Self {
        let (family, model) = match cpu {
            Cpu::Milan => (0x19, 0x01),
            Cpu::Genoa => (0x19, 0x11),
            Cpu::Turin => (0x1a, 0x02),
        };
        // Milan's form is Genoa's.
        let (tcb, vcek) = match cpu {
            Cpu::Milan | Cpu::Genoa => (TCB_GENOA, VCEK_GENOA),
            Cpu::Turin => (TCB_TURIN, VCEK_TURIN),
        };
        self.template.chip_id = match cpu {
            Cpu::Milan | Cpu::Genoa => *CHIP_GENOA,
            Cpu::Turin => ReportData::new(CHIP_TURIN).map_or([0; 64], |id| id.padded()),
        };
        self.template.cpuid_fam_id = Some(family);
        self.template.cpuid_mod_id = Some(model);
        self.template.current_tcb = tcb;
        self.template.reported_tcb = tcb;
        self.template.committed_tcb = tcb;
        self.template.launch_tcb = tcb;
        self.template.key_info = 0.into();
        self.endorsement = (EndorsementKeyKind::Vcek, vcek);
        self
    }

    /// Signs as a VLEK, the key of a cloud provider, on a Genoa CPU.
    pub fn vlek(mut self) -> Self {
        self = self.cpu(Cpu::Genoa);
        self.template.key_info = VLEK_SIGNS.into();
        self.endorsement = (EndorsementKeyKind::Vlek, VLEK);
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
    pub fn build(mut self) -> FakeSnp {
        match self.tampering {
            Some(Tampering::Tcb) => self.template.reported_tcb.microcode += 1,
            Some(Tampering::ClaimsVlek) => self.template.key_info = VLEK_SIGNS.into(),
            _ => {}
        }
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, CHIP_KEY, &random)
            .expect("the committed test key is sound");
        FakeSnp {
            key,
            random,
            template: self.template,
            endorsement: self.endorsement,
            tampering: self.tampering,
            failure: self.failure,
            calls: AtomicU64::new(0),
        }
    }
}
