//! What this host checks of its own evidence before anybody else sees it.
//!
//! A device, a quoting service or another program on this machine may answer with evidence of somebody
//! else's request, or of a VM whose memory its host can read. A verifier would refuse some of that, but not
//! each verifier all of it, and by then this host would have asked for keys with it. Nothing here replaces a
//! verifier: no signature is checked.
//!
//! Source of the report's layout: AMD 56860, table 23.

mod told;

use proplet_types::Code;
use serde_json::{Map, Value};
use thiserror::Error;

use self::told::{snp_reference_values, snp_versions, tdx_reference_values};
use super::kind::{HardwareKind, Raw};
use super::local;
use crate::snp::REPORT_LEN;
use crate::tdx::Quote;

/// Why the host refuses its own evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadBackError {
    /// It cannot be read.
    #[error("the {tee} evidence cannot be read: {reason}; update the guest kernel or host")]
    Malformed {
        /// `snp` or `tdx`.
        tee: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It was made over other report data.
    #[error(
        "the {tee} evidence was made over other report data than was asked: something between this \
         process and the CPU answers with evidence of other requests; do not use this host"
    )]
    OtherReportData {
        /// `snp` or `tdx`.
        tee: &'static str,
    },
    /// Its report data is all zeros.
    #[error(
        "the {tee} evidence is over zeros, that is over nothing: update the guest kernel or host"
    )]
    ZeroReportData {
        /// `snp` or `tdx`.
        tee: &'static str,
    },
    /// The VM can be debugged.
    #[error(
        "this VM may be debugged by its host, which can read all its memory ({tee}): start it without \
         the debug bit in its {field}"
    )]
    Debug {
        /// `snp` or `tdx`.
        tee: &'static str,
        /// Where the bit is.
        field: &'static str,
    },
    /// The VM can be moved with all its memory.
    #[error(
        "this VM may be migrated by its host, and its memory with it ({tee}): start it without the \
         migration bit in its {field}"
    )]
    Migratable {
        /// `snp` or `tdx`.
        tee: &'static str,
        /// Where the bit is.
        field: &'static str,
    },
    /// It says something else about the VM than evidence before it.
    #[error(
        "the {tee} evidence says another measurement or other init-data than evidence of this VM before it: \
         something between this process and the CPU makes some of it up; do not use this host"
    )]
    OtherVm {
        /// `snp` or `tdx`.
        tee: &'static str,
    },
    /// The TDX module says something else of this VM.
    #[error(
        "the TDX quote says another {field} than the TDX module told this VM itself: the host's quoting \
         service answers with quotes of another VM, or makes them up; do not use this host"
    )]
    OtherThanModule {
        /// What differs, as the TDX module's documentation calls it.
        field: &'static str,
    },
    /// The report is of a less privileged level.
    #[error(
        "the SNP report is of VMPL {vmpl}, only 0 speaks for the whole VM: start the VM without an \
         SVSM or paravisor"
    )]
    Vmpl {
        /// The report's level.
        vmpl: u32,
    },
}

impl ReadBackError {
    /// The stable code of this kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed { .. } => Code::TeeMalformed,
            _ => Code::TeeNotTrusted,
        }
    }
}

/// What evidence that passed says of its VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEvidence {
    /// HOST_DATA or MRCONFIGID; none when it is all zeros.
    pub init_data: Option<Vec<u8>>,
    /// The launch measurement or MRTD.
    pub measurement: Vec<u8>,
    /// Versions of what the VM stands on, by name, for people to read.
    pub versions: Vec<(&'static str, String)>,
    /// What Trustee's own policy for CPUs compares, by its names: lists of what this VM would be affirmed by.
    pub reference_values: Map<String, Value>,
}

impl OwnEvidence {
    /// Whether both say the same of what does not change while a VM lives.
    pub(super) fn is_of_the_same_vm(&self, other: &Self) -> bool {
        (&self.init_data, &self.measurement) == (&other.init_data, &other.measurement)
    }
}

/// Checks evidence of this VM over `asked`.
///
/// # Errors
/// [`ReadBackError`].
pub fn read_back(
    kind: HardwareKind,
    raw: &Raw,
    asked: &[u8; 64],
) -> Result<OwnEvidence, ReadBackError> {
    match kind {
        HardwareKind::Snp => snp(&raw.evidence, asked),
        HardwareKind::Tdx => tdx(raw, asked),
    }
}

fn snp(report: &[u8], asked: &[u8; 64]) -> Result<OwnEvidence, ReadBackError> {
    let report = sized(report)?;
    check_report_data("snp", &field(report, 80)?, asked)?;
    let policy = u64::from_le_bytes(field(report, 8)?);
    let (tee, place) = ("snp", "guest policy");
    if policy & (1 << 19) != 0 {
        return Err(ReadBackError::Debug { tee, field: place });
    }
    if policy & (1 << 18) != 0 {
        return Err(ReadBackError::Migratable { tee, field: place });
    }
    let vmpl = u32::from_le_bytes(field(report, 48)?);
    if vmpl != 0 {
        return Err(ReadBackError::Vmpl { vmpl });
    }
    let host_data: [u8; 32] = field(report, 192)?;
    let measurement: [u8; 48] = field(report, 144)?;
    Ok(OwnEvidence {
        init_data: (host_data != [0; 32]).then(|| host_data.to_vec()),
        measurement: measurement.to_vec(),
        versions: snp_versions(report),
        reference_values: snp_reference_values(report),
    })
}

fn tdx(raw: &Raw, asked: &[u8; 64]) -> Result<OwnEvidence, ReadBackError> {
    let report = Quote::parse(&raw.evidence)
        .map_err(|error| malformed("tdx", error.to_string()))?
        .report;
    check_report_data("tdx", &report.report_data, asked)?;
    if let Some(td_report) = &raw.td_report {
        local::compare(&report, td_report)
            .map_err(|field| ReadBackError::OtherThanModule { field })?;
    }
    let (tee, field) = ("tdx", "TD attributes");
    if report.debug() {
        return Err(ReadBackError::Debug { tee, field });
    }
    if report.migratable() {
        return Err(ReadBackError::Migratable { tee, field });
    }
    Ok(OwnEvidence {
        init_data: report.init_data(),
        measurement: report.mr_td.to_vec(),
        versions: vec![
            ("TEE TCB SVN", hex::encode(report.tee_tcb_svn)),
            ("TDX module", hex::encode(report.mr_seam)),
            ("XFAM", format!("{:#x}", report.xfam)),
            ("TD attributes", format!("{:#x}", report.td_attributes)),
        ],
        reference_values: tdx_reference_values(&report),
    })
}

fn check_report_data(
    tee: &'static str,
    found: &[u8; 64],
    asked: &[u8; 64],
) -> Result<(), ReadBackError> {
    if *found == [0; 64] {
        return Err(ReadBackError::ZeroReportData { tee });
    }
    if found != asked {
        return Err(ReadBackError::OtherReportData { tee });
    }
    Ok(())
}

fn sized(report: &[u8]) -> Result<&[u8; REPORT_LEN], ReadBackError> {
    report
        .try_into()
        .map_err(|_| malformed("snp", format!("it has {} bytes", report.len())))
}

/// The bytes at a fixed place of a report.
fn field<const N: usize>(report: &[u8; REPORT_LEN], at: usize) -> Result<[u8; N], ReadBackError> {
    report
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or_else(|| malformed("snp", format!("it has no bytes at {at}")))
}

fn malformed(tee: &'static str, reason: String) -> ReadBackError {
    ReadBackError::Malformed { tee, reason }
}

#[cfg(test)]
mod tests;
