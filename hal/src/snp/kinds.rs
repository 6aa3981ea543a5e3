//! The nouns that everything about SNP shares: keys, generations, security versions.

use std::fmt;
use std::str::FromStr;

/// Security versions of the platform's firmware; higher is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcb {
    /// Firmware of the FMC; only Turin and later have one.
    pub fmc: Option<u8>,
    /// The secure processor's bootloader.
    pub bootloader: u8,
    /// The secure processor's operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The CPU's microcode.
    pub microcode: u8,
}

/// The kinds of key that sign reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndorsementKeyKind {
    /// Versioned chip endorsement key: derived from fuses of this one chip.
    Vcek,
    /// Versioned loaded endorsement key: derived from a seed that AMD gave a cloud provider, the same
    /// on all of its machines.
    Vlek,
    /// The report is not signed at all, or by a key that is not defined. No certificate is of this
    /// kind.
    None,
}

impl fmt::Display for EndorsementKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::None => "no key",
        })
    }
}

/// EPYC generations with SNP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Generation {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004: Genoa, Bergamo, Siena.
    Genoa,
    /// EPYC 9005.
    Turin,
    /// The generation after Turin. Its roots are not built in.
    Venice,
}

impl Generation {
    /// The generation as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "milan",
            Self::Genoa => "genoa",
            Self::Turin => "turin",
            Self::Venice => "venice",
        }
    }
}

/// A text that is no [`Generation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a generation of EPYC with SNP: there are milan, genoa, turin and venice")]
pub struct UnknownGeneration;

impl FromStr for Generation {
    type Err = UnknownGeneration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut known = [Self::Milan, Self::Genoa, Self::Turin, Self::Venice].into_iter();
        known
            .find(|generation| generation.as_str() == text)
            .ok_or(UnknownGeneration)
    }
}

impl From<sev::firmware::host::TcbVersion> for Tcb {
    fn from(tcb: sev::firmware::host::TcbVersion) -> Self {
        Self {
            fmc: tcb.fmc,
            bootloader: tcb.bootloader,
            tee: tcb.tee,
            snp: tcb.snp,
            microcode: tcb.microcode,
        }
    }
}

impl Generation {
    /// The generation of a CPU by its family and model; `None` for one that is not known.
    pub(super) fn identify(family: u8, model: u8) -> Option<Self> {
        match sev::Generation::identify_cpu(family, model).ok()? {
            sev::Generation::Milan => Some(Self::Milan),
            sev::Generation::Genoa => Some(Self::Genoa),
            sev::Generation::Turin => Some(Self::Turin),
            sev::Generation::Venice => Some(Self::Venice),
        }
    }
}
