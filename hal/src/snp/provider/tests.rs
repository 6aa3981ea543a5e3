use std::sync::Mutex;

use proplet_types::Code;

use super::guest_device::DEVICE;
use super::*;
use crate::SystemError;
use crate::snp::table::tests as tables;

/// Answers with recorded bytes.
struct Recorded {
    extended: Exit,
    plain: Exit,
    table: Vec<u8>,
    response: Vec<u8>,
    calls: Mutex<Calls>,
}

impl Recorded {
    fn new(extended: Exit, plain: Exit) -> Self {
        let mut response = vec![0; REPORT_AT];
        response[4..8].copy_from_slice(&1184_u32.to_le_bytes());
        response.extend([9; REPORT_LEN]);
        Self {
            extended,
            plain,
            table: tables::table(&[(tables::VCEK, b"vcek")]),
            response,
            calls: Mutex::default(),
        }
    }

    fn answer(&self, name: &'static str, request: &[u8], response: &mut [u8], exit: &Exit) {
        self.calls.lock().unwrap().push((name, request.to_vec()));
        if exit.error.is_none() {
            response[..self.response.len()].copy_from_slice(&self.response);
        }
    }
}

impl SevGuestDevice for &'static Recorded {
    fn extended(
        &self,
        request: &[u8; SNP_REQUEST_LEN],
        response: &mut [u8; SNP_RESPONSE_LEN],
        table: &mut [u8],
    ) -> Result<Exit, SevGuestError> {
        self.answer("extended", request, response, &self.extended);
        table[..self.table.len()].copy_from_slice(&self.table);
        Ok(self.extended.clone())
    }

    fn plain(
        &self,
        request: &[u8; SNP_REQUEST_LEN],
        response: &mut [u8; SNP_RESPONSE_LEN],
    ) -> Result<Exit, SevGuestError> {
        self.answer("plain", request, response, &self.plain);
        Ok(self.plain.clone())
    }
}

fn exit(errno: Option<Errno>, vmm: u32) -> Exit {
    Exit {
        error: errno.map(SystemError::from),
        vmm,
        firmware: 0,
    }
}

type Calls = Vec<(&'static str, Vec<u8>)>;

fn ask(recorded: Recorded) -> (Result<Raw, SevGuestError>, Calls) {
    let recorded: &'static Recorded = Box::leak(Box::new(recorded));
    let result = SevGuest::with(recorded).report(&[7; 64]);
    let calls = recorded.calls.lock().unwrap().clone();
    (result, calls)
}

#[test]
fn an_extended_report_brings_certificates() {
    let (raw, calls) = ask(Recorded::new(Exit::default(), Exit::default()));
    let raw = raw.unwrap();
    assert_eq!(raw.evidence, [9; REPORT_LEN]);
    let table = crate::snp::CertificateTable::parse(&raw.certificates).unwrap();
    let key = crate::snp::EndorsementKeyKind::Vcek;
    assert_eq!(table.endorsement(key), Some(&b"vcek"[..]));
    let [(name, request)] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!(*name, "extended");
    assert_eq!(request[..64], [7; 64]);
    assert_eq!(request[64..], [0; 32], "VMPL 0 and reserved bytes");
}

#[test]
fn a_host_without_certificates_gives_a_plain_report() {
    for (errno, vmm) in [
        (Some(Errno::IO), VMM_INVALID_LEN),
        (None, VMM_INVALID_LEN),
        (Some(Errno::IO), 0),
        (Some(Errno::INVAL), 0),
    ] {
        let (raw, calls) = ask(Recorded::new(exit(errno, vmm), Exit::default()));
        assert_eq!(raw.unwrap().certificates, [0; 0]);
        let names: Vec<_> = calls.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["extended", "plain"]);
        assert_eq!(calls[0].1, calls[1].1);
    }
}

#[test]
fn throttling_is_busy_and_not_a_reason_for_another_request() {
    for (errno, vmm) in [
        (Some(Errno::AGAIN), 0),
        (Some(Errno::BUSY), 0),
        (Some(Errno::TIMEDOUT), VMM_BUSY),
        (Some(Errno::IO), VMM_BUSY),
        (None, VMM_BUSY),
    ] {
        let (raw, calls) = ask(Recorded::new(exit(errno, vmm), Exit::default()));
        let error = raw.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(error.code(), Code::TeeBusy);
        assert_eq!(calls.len(), 1);
    }
}

#[test]
fn other_errors_are_told_with_their_numbers() {
    for errno in [Errno::NOTTY, Errno::BADF, Errno::NXIO] {
        let (raw, _) = ask(Recorded::new(exit(Some(errno), 0), Exit::default()));
        assert_eq!(raw.unwrap_err().code(), Code::TeeUnreachable);
    }
    let refused = Exit {
        error: Some(Errno::IO.into()),
        vmm: 0,
        firmware: 0x1f,
    };
    let (raw, _) = ask(Recorded::new(refused.clone(), refused));
    let error = raw.unwrap_err();
    assert_eq!(error.code(), Code::TeeFailed);
    assert!(error.to_string().contains("0x1f"), "{error}");
}

#[test]
fn an_answer_without_a_report_is_refused() {
    for (status, size) in [(0, 0), (0, 1183), (0, u32::MAX), (0x16, 1184), (0x27, 0)] {
        let mut recorded = Recorded::new(Exit::default(), Exit::default());
        recorded.response[..4].copy_from_slice(&u32::to_le_bytes(status));
        recorded.response[4..8].copy_from_slice(&u32::to_le_bytes(size));
        let (raw, _) = ask(recorded);
        let error = raw.unwrap_err();
        assert_eq!(error.code(), Code::TeeMalformed, "{error}");
    }
}

#[test]
fn without_the_device_that_is_said() {
    if std::path::Path::new(DEVICE).exists() {
        return;
    }
    let error = SevGuest::of_kernel().report(&[7; 64]).unwrap_err();
    assert!(matches!(error, SevGuestError::NoDevice { .. }), "{error}");
    assert!(error.to_string().contains("modprobe"), "{error}");
}
