//! A quote beside what the TDX module told this VM itself.
//!
//! The module gives a TDREPORT to the VM and to nobody else, and the hypervisor has no hand in it. A quote leaves
//! the machine and comes back by way of the host, and nobody in the VM checks its signature. So what both say
//! has to be the same: a service that answers with a quote of another VM, or with one that it made up, is found
//! out before a key broker is asked with it.
//!
//! Source: Intel TDX module ABI reference 1.5, TDREPORT_STRUCT, TDINFO_STRUCT.

use crate::device::TD_REPORT_LEN;
use crate::tdx::TdReport;

/// Where REPORTDATA stands.
const REPORT_DATA: usize = 128;
/// Where the four RTMRs stand, one after the other.
pub(super) const RTMRS: std::ops::Range<usize> = 720..912;

/// Compares what a quote says with a TDREPORT over the same report data.
///
/// # Errors
/// The first field that differs.
pub(super) fn compare(
    quote: &TdReport,
    td_report: &[u8; TD_REPORT_LEN],
) -> Result<(), &'static str> {
    let attributes = quote.td_attributes.to_le_bytes();
    let xfam = quote.xfam.to_le_bytes();
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &quote.rtmrs;
    let fields: [(&'static str, &[u8], usize); 11] = [
        ("report data", &quote.report_data, REPORT_DATA),
        ("TD attributes", &attributes, 512),
        ("XFAM", &xfam, 520),
        ("MRTD", &quote.mr_td, 528),
        ("MRCONFIGID", &quote.mr_config_id, 576),
        ("MROWNER", &quote.mr_owner, 624),
        ("MROWNERCONFIG", &quote.mr_owner_config, 672),
        ("RTMR0", rtmr0, RTMRS.start),
        ("RTMR1", rtmr1, RTMRS.start + 48),
        ("RTMR2", rtmr2, RTMRS.start + 96),
        ("RTMR3", rtmr3, RTMRS.start + 144),
    ];
    for (name, quoted, at) in fields {
        if td_report.get(at..at.saturating_add(quoted.len())) != Some(quoted) {
            return Err(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tdx::BodyType;

    fn quote() -> TdReport {
        TdReport {
            body_type: BodyType::Td10,
            tee_tcb_svn: [0; 16],
            mr_seam: [0; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: 0x1000_0000,
            xfam: 0x6_02e7,
            mr_td: [1; 48],
            mr_config_id: [2; 48],
            mr_owner: [3; 48],
            mr_owner_config: [4; 48],
            rtmrs: [[5; 48], [6; 48], [7; 48], [8; 48]],
            report_data: [9; 64],
            tee_tcb_svn2: None,
            mr_service_td: None,
        }
    }

    fn td_report() -> [u8; TD_REPORT_LEN] {
        let mut report = [0xee; TD_REPORT_LEN];
        report[128..192].fill(9);
        report[512..520].copy_from_slice(&0x1000_0000_u64.to_le_bytes());
        report[520..528].copy_from_slice(&0x6_02e7_u64.to_le_bytes());
        for (number, value) in (1_u8..=8).enumerate() {
            let at = 528 + 48 * number;
            report[at..at + 48].fill(value);
        }
        report
    }

    #[test]
    fn the_same_vm_is_the_same() {
        assert_eq!(compare(&quote(), &td_report()), Ok(()));
    }

    #[test]
    fn each_field_that_differs_is_named() {
        for (at, field) in [
            (128, "report data"),
            (191, "report data"),
            (512, "TD attributes"),
            (527, "XFAM"),
            (528, "MRTD"),
            (623, "MRCONFIGID"),
            (624, "MROWNER"),
            (719, "MROWNERCONFIG"),
            (720, "RTMR0"),
            (768, "RTMR1"),
            (816, "RTMR2"),
            (911, "RTMR3"),
        ] {
            let mut report = td_report();
            report[at] ^= 1;
            assert_eq!(compare(&quote(), &report), Err(field), "byte {at}");
        }
        // The MAC, and what the quote does not repeat.
        let mut report = td_report();
        report[224..256].fill(0);
        report[912..].fill(0);
        assert_eq!(compare(&quote(), &report), Ok(()));
    }
}
