//! What every way to evidence has in common: the TEE that it leads to, and what it gives.

use crate::TeeName;
use crate::device::TD_REPORT_LEN;

/// The hardware TEEs that this version attests with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardwareKind {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl HardwareKind {
    /// The kind of this name, if there is one.
    #[must_use]
    pub fn of(tee: &TeeName) -> Option<Self> {
        match tee {
            tee if *tee == TeeName::SNP => Some(Self::Snp),
            tee if *tee == TeeName::TDX => Some(Self::Tdx),
            _ => None,
        }
    }

    /// The TEE's name.
    #[must_use]
    pub fn tee(self) -> TeeName {
        match self {
            Self::Snp => TeeName::SNP,
            Self::Tdx => TeeName::TDX,
        }
    }

    /// The name as it is written in logs and claims.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }

    /// What the kernel calls its driver of TSM reports.
    pub(crate) fn tsm_provider(self) -> &'static str {
        match self {
            Self::Snp => "sev_guest",
            Self::Tdx => "tdx_guest",
        }
    }
}

/// What a way gave, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw {
    /// An SNP report or a TDX quote.
    pub evidence: Vec<u8>,
    /// The host's certificate table (SNP); empty when it has none.
    pub certificates: Vec<u8>,
    /// What the TDX module told this VM itself over the same report data, when it was asked.
    pub td_report: Option<Box<[u8; TD_REPORT_LEN]>>,
}
