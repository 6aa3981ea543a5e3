//! What stands behind the emulated interface.

use proplet_hal::ReportData;
use rustix::io::Errno;

use super::attribute::Attribute;
use super::fault::Faults;
use crate::tee::{FakeSnp, FakeTdx};

/// What stands behind an emulated TSM interface.
#[derive(Debug)]
pub struct TsmDevice {
    firmware: Firmware,
    /// The lowest privilege level that reports may have: above 0 below an SVSM.
    floor: u32,
    visible: Vec<Attribute>,
}

#[derive(Debug)]
enum Firmware {
    Snp {
        fake: Box<FakeSnp>,
        certificates: Vec<u8>,
    },
    Tdx(Box<FakeTdx>),
}

/// What a report's attributes give.
#[derive(Debug, Clone, Default)]
pub(super) struct Blobs {
    pub outblob: Vec<u8>,
    pub auxblob: Vec<u8>,
    pub manifestblob: Vec<u8>,
}

impl TsmDevice {
    /// SEV-SNP, as the driver `sev_guest` offers it: with the fake's certificates in `auxblob`.
    #[must_use]
    pub fn snp(fake: FakeSnp) -> Self {
        let certificates = fake.certificate_table();
        Self {
            firmware: Firmware::Snp {
                fake: Box::new(fake),
                certificates,
            },
            floor: 0,
            visible: visible(&[
                Attribute::Inblob,
                Attribute::Outblob,
                Attribute::Auxblob,
                Attribute::Generation,
                Attribute::Provider,
                Attribute::Privlevel,
                Attribute::PrivlevelFloor,
            ]),
        }
    }

    /// TDX, as the driver `tdx_guest` offers it.
    #[must_use]
    pub fn tdx(fake: FakeTdx) -> Self {
        Self {
            firmware: Firmware::Tdx(Box::new(fake)),
            floor: 0,
            visible: visible(&[
                Attribute::Inblob,
                Attribute::Outblob,
                Attribute::Generation,
                Attribute::Provider,
            ]),
        }
    }

    /// SNP where the host gives no certificates.
    #[must_use]
    pub fn without_certificates(mut self) -> Self {
        if let Firmware::Snp { certificates, .. } = &mut self.firmware {
            certificates.clear();
        }
        self
    }

    /// The kernel runs at this privilege level, below an SVSM, and shows its attributes too.
    #[must_use]
    pub fn below_svsm(mut self, level: u32) -> Self {
        self.floor = level;
        self.visible = visible(&Attribute::ALL);
        self
    }

    pub(super) fn provider(&self) -> &'static str {
        match self.firmware {
            Firmware::Snp { .. } => "sev_guest",
            Firmware::Tdx(_) => "tdx_guest",
        }
    }

    pub(super) fn privlevel_floor(&self) -> u32 {
        self.floor
    }

    pub(super) fn attributes(&self) -> &[Attribute] {
        &self.visible
    }

    /// A new report. Both drivers take exactly 64 bytes.
    pub(super) fn report(&self, inblob: &[u8], faults: &mut Faults) -> Result<Blobs, Errno> {
        let inblob: [u8; 64] = inblob.try_into().map_err(|_| Errno::INVAL)?;
        let data = faults.report_data(inblob);
        let (report, certificates) = match &self.firmware {
            Firmware::Snp { fake, certificates } => {
                let report = fake.report(&ReportData::from(data));
                (report.map_err(|_| Errno::IO)?, certificates.clone())
            }
            Firmware::Tdx(fake) => (fake.quote(&data), Vec::new()),
        };
        Ok(Blobs {
            outblob: faults.outblob(report),
            auxblob: faults.auxblob(certificates),
            manifestblob: Vec::new(),
        })
    }
}

fn visible(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.to_vec()
}
