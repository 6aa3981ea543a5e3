//! What evidence says of its VM: for people to read, and for Trustee's own policy.

use serde_json::{Map, Value, json};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

use crate::snp::REPORT_LEN;
use crate::tdx::TdReport;

/// The measurement and the reported TCB; nothing when the report is of a layout that is not known.
pub(super) fn snp_reference_values(report: &[u8; REPORT_LEN]) -> Map<String, Value> {
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
pub(super) fn tdx_reference_values(report: &TdReport) -> Map<String, Value> {
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
pub(super) fn snp_versions(report: &[u8; REPORT_LEN]) -> Vec<(&'static str, String)> {
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
