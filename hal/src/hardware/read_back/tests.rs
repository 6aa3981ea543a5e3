use proptest::prelude::*;
use serde_json::json;

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
