//! What this host checks of its own evidence before anybody else sees it.
//!
//! A device, a quoting service or another program on this machine may answer with evidence of somebody
//! else's request, or of a VM whose memory its host can read. A verifier would refuse some of that, but not
//! each verifier all of it, and by then this host would have asked for keys with it. Nothing here replaces a
//! verifier: no signature is checked.
//!
//! Source of the report's layout: AMD 56860, table 23.

use proplet_types::Code;
use serde_json::{Map, Value, json};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use thiserror::Error;

use super::kind::{HardwareKind, Raw};
use super::local;
use crate::snp::REPORT_LEN;
use crate::tdx::{Quote, TdReport};

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

/// The measurement and the reported TCB; nothing when the report is of a layout that is not known.
fn snp_reference_values(report: &[u8; REPORT_LEN]) -> Map<String, Value> {
    let Ok(report) = AttestationReport::from_bytes(report.as_slice()) else {
        return Map::new();
    };
    let tcb = report.reported_tcb;
    [
        (
            "snp_launch_measurement",
            json!([hex::encode(report.measurement)]),
        ),
        ("snp_bootloader", json!([tcb.bootloader])),
        ("snp_tee_svn", json!([tcb.tee])),
        ("snp_snp_svn", json!([tcb.snp])),
        ("snp_microcode", json!([tcb.microcode])),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

/// Measurements, and the features in the spelling of quotes. Whether the TCB is up to date is for the service to
/// find out.
fn tdx_reference_values(report: &TdReport) -> Map<String, Value> {
    let [_, rtmr_1, rtmr_2, _] = report.rtmrs.map(hex::encode);
    [
        ("mr_td", hex::encode(report.mr_td)),
        ("rtmr_1", rtmr_1),
        ("rtmr_2", rtmr_2),
        ("xfam", hex::encode(report.xfam.to_le_bytes())),
    ]
    .map(|(name, value)| (name.to_owned(), json!([value])))
    .into_iter()
    .collect()
}

/// Nothing when the report is of a layout that is not known: what must hold was checked before.
fn snp_versions(report: &[u8; REPORT_LEN]) -> Vec<(&'static str, String)> {
    let Ok(report) = AttestationReport::from_bytes(report.as_slice()) else {
        return Vec::new();
    };
    let firmware = |version: sev::firmware::guest::Version| {
        format!("{}.{}.{}", version.major, version.minor, version.build)
    };
    let tcb = |tcb: sev::firmware::host::TcbVersion| {
        let fmc = tcb
            .fmc
            .map(|fmc| format!("fmc {fmc}, "))
            .unwrap_or_default();
        format!(
            "{fmc}bootloader {}, tee {}, snp {}, microcode {}",
            tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
        )
    };
    vec![
        ("report version", report.version.to_string()),
        ("firmware", firmware(report.current)),
        ("committed firmware", firmware(report.committed)),
        ("reported TCB", tcb(report.reported_tcb)),
        ("current TCB", tcb(report.current_tcb)),
        ("committed TCB", tcb(report.committed_tcb)),
        ("launch TCB", tcb(report.launch_tcb)),
    ]
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: [u8; 64] = [7; 64];

    fn report() -> Vec<u8> {
        let mut report = vec![0; REPORT_LEN];
        report[0] = 3;
        report[80..144].copy_from_slice(&ASKED);
        report[144..192].fill(5);
        report
    }

    fn quote(version: u8) -> Vec<u8> {
        let (body, len) = if version == 4 { (48, 584) } else { (54, 648) };
        let mut quote = vec![0; body + len];
        quote[..8].copy_from_slice(&[version, 0, 2, 0, 0x81, 0, 0, 0]);
        if version == 5 {
            quote[48..54].copy_from_slice(&[3, 0, 0x88, 2, 0, 0]);
        }
        quote[body + 520..body + 584].copy_from_slice(&ASKED);
        quote[body + 136..body + 184].fill(5);
        // Signature and key, then the quoting enclave's report and signature, without a chain.
        let inner = [vec![0; 384 + 64 + 2], vec![5, 0, 0, 0, 0, 0]].concat();
        let inner_len = u32::try_from(inner.len()).unwrap().to_le_bytes();
        let signed = [vec![0; 128], vec![6, 0], inner_len.to_vec(), inner].concat();
        quote.extend(u32::try_from(signed.len()).unwrap().to_le_bytes());
        quote.extend(signed);
        quote
    }

    fn raw(evidence: &[u8]) -> Raw {
        Raw {
            evidence: evidence.to_vec(),
            ..Raw::default()
        }
    }

    fn read(kind: HardwareKind, evidence: &[u8]) -> Result<OwnEvidence, ReadBackError> {
        read_back(kind, &raw(evidence), &ASKED)
    }

    #[test]
    fn own_evidence_passes_and_tells_its_init_data() {
        let mut report = report();
        let own = read(HardwareKind::Snp, &report).unwrap();
        assert_eq!((own.init_data, own.measurement), (None, vec![5; 48]));
        report[192] = 1;
        let own = read(HardwareKind::Snp, &report).unwrap();
        assert_eq!(own.init_data.unwrap().len(), 32);
        for (version, body) in [(4, 48), (5, 54)] {
            let mut quote = quote(version);
            let own = read(HardwareKind::Tdx, &quote).unwrap();
            assert_eq!((own.init_data, own.measurement), (None, vec![5; 48]));
            quote[body + 184] = 1;
            let own = read(HardwareKind::Tdx, &quote).unwrap();
            assert_eq!(own.init_data.unwrap().len(), 48);
        }
    }

    #[test]
    fn own_evidence_tells_what_a_stock_policy_compares() {
        // A Milan, with a number of its own in each place of the reported TCB.
        let mut report = report();
        report[392..394].copy_from_slice(&[0x19, 1]);
        report[384..392].copy_from_slice(&[1, 2, 0, 0, 0, 0, 3, 4]);
        let own = read(HardwareKind::Snp, &report).unwrap();
        let expected = json!({
            "snp_launch_measurement": ["05".repeat(48)],
            "snp_bootloader": [1],
            "snp_tee_svn": [2],
            "snp_snp_svn": [3],
            "snp_microcode": [4],
        });
        assert_eq!(Value::Object(own.reference_values), expected);
        let mut quote = quote(4);
        // XFAM, RTMR1 and RTMR2.
        for (at, length, byte) in [(128, 1, 0xe7), (376, 48, 1), (424, 48, 2)] {
            quote[48 + at..48 + at + length].fill(byte);
        }
        let own = read(HardwareKind::Tdx, &quote).unwrap();
        let expected = json!({
            "mr_td": ["05".repeat(48)],
            "rtmr_1": ["01".repeat(48)],
            "rtmr_2": ["02".repeat(48)],
            "xfam": ["e700000000000000"],
        });
        assert_eq!(Value::Object(own.reference_values), expected);
    }

    #[test]
    fn other_and_no_report_data_are_refused() {
        for (kind, evidence, at) in [
            (HardwareKind::Snp, report(), 80),
            (HardwareKind::Tdx, quote(4), 568),
            (HardwareKind::Tdx, quote(5), 574),
        ] {
            let tee = kind.as_str();
            let mut other = evidence.clone();
            other[at + 63] ^= 1;
            let refusal = read(kind, &other).unwrap_err();
            assert_eq!(refusal, ReadBackError::OtherReportData { tee });
            let mut zero = evidence;
            zero[at..at + 64].fill(0);
            let refusal = read(kind, &zero).unwrap_err();
            assert_eq!(refusal, ReadBackError::ZeroReportData { tee });
            // Even where zeros were asked for: they bind nothing.
            let refusal = read_back(kind, &raw(&zero), &[0; 64]).unwrap_err();
            assert_eq!(refusal, ReadBackError::ZeroReportData { tee });
        }
    }

    #[test]
    fn a_quote_of_another_vm_than_the_module_knows_is_refused() {
        for (version, body) in [(4, 48), (5, 54)] {
            let mut raw = raw(&quote(version));
            let mut told = [0; 1024];
            told[128..192].copy_from_slice(&ASKED);
            told[528..576].fill(5);
            raw.td_report = Some(Box::new(told));
            let own = read_back(HardwareKind::Tdx, &raw, &ASKED).unwrap();
            assert_eq!(own.measurement, [5; 48]);
            raw.evidence[body + 136] ^= 1;
            let field = "MRTD";
            assert_eq!(
                read_back(HardwareKind::Tdx, &raw, &ASKED),
                Err(ReadBackError::OtherThanModule { field })
            );
        }
    }

    #[test]
    fn vms_that_their_host_can_read_are_refused() {
        let with = |mut evidence: Vec<u8>, at: usize, bit: u8| {
            evidence[at] |= 1 << bit;
            evidence
        };
        let (tee, field) = ("snp", "guest policy");
        assert_eq!(
            read(HardwareKind::Snp, &with(report(), 10, 3)),
            Err(ReadBackError::Debug { tee, field })
        );
        assert_eq!(
            read(HardwareKind::Snp, &with(report(), 10, 2)),
            Err(ReadBackError::Migratable { tee, field })
        );
        assert_eq!(
            read(HardwareKind::Snp, &with(report(), 48, 1)),
            Err(ReadBackError::Vmpl { vmpl: 2 })
        );
        let (tee, field) = ("tdx", "TD attributes");
        for (version, body) in [(4, 48), (5, 54)] {
            assert_eq!(
                read(HardwareKind::Tdx, &with(quote(version), body + 120, 0)),
                Err(ReadBackError::Debug { tee, field })
            );
            assert_eq!(
                read(HardwareKind::Tdx, &with(quote(version), body + 123, 5)),
                Err(ReadBackError::Migratable { tee, field })
            );
        }
    }

    #[test]
    fn what_is_no_report_or_quote_is_refused() {
        let malformed = |kind, evidence: &[u8]| {
            let refusal = read(kind, evidence).unwrap_err();
            assert!(
                matches!(refusal, ReadBackError::Malformed { .. }),
                "{refusal}"
            );
            assert_eq!(refusal.code(), Code::TeeMalformed);
        };
        malformed(HardwareKind::Snp, &report()[..1183]);
        malformed(HardwareKind::Snp, &[report(), vec![0]].concat());
        malformed(HardwareKind::Tdx, &quote(4)[..600]);
        for (at, value) in [(0, 3), (0, 6), (4, 0)] {
            let mut quote = quote(4);
            quote[at] = value;
            malformed(HardwareKind::Tdx, &quote);
        }
        let mut sgx = quote(5);
        sgx[48] = 1;
        malformed(HardwareKind::Tdx, &sgx);
        // A service TD that is bound may take the VM out as well.
        let mut bound = quote(5);
        bound[54 + 600] = 1;
        let refusal = read(HardwareKind::Tdx, &bound).unwrap_err();
        assert!(matches!(refusal, ReadBackError::Migratable { .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut evidence in proptest::collection::vec(any::<u8>(), 0..1300),
            version in 3_u8..7,
        ) {
            let _ = read(HardwareKind::Snp, &evidence);
            for (at, byte) in [(0, version), (1, 0), (4, 0x81), (5, 0), (6, 0), (7, 0)] {
                if let Some(to) = evidence.get_mut(at) {
                    *to = byte;
                }
            }
            let _ = read(HardwareKind::Tdx, &evidence);
        }
    }
}
