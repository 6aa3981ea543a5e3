//! Evidence by `/dev/sev-guest`.
//!
//! An extended report is asked for first: it brings the host's certificates along. A host that has none, or
//! cannot, gives a plain report. The message layer here works on bytes; [`SevGuestDevice`] is all that it
//! wants of a device.
//!
//! A throttled request is repeated by the kernel itself, every two seconds for a minute, because a request
//! that is dropped would leave the channel to the firmware unusable; what comes back as `EBUSY`,
//! `EAGAIN` or `ETIMEDOUT`, or with the hypervisor's error 2, is tried again by the caller.
//!
//! Sources: AMD 56860 (MSG_REPORT_REQ, MSG_REPORT_RSP), Linux `drivers/virt/coco/sev-guest`.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use proplet_types::Code;
use rustix::io::Errno;
use thiserror::Error;

use super::report::REPORT_LEN;
use crate::SystemError;
use crate::device::{self, SNP_REQUEST_LEN, SNP_RESPONSE_LEN, SnpExit};
use crate::hardware::kind::Raw;

/// The kernel's device.
const DEVICE: &str = "/dev/sev-guest";
/// The longest table that the kernel takes a buffer for (SEV_FW_BLOB_MAX_SIZE).
const TABLE_LEN: usize = 16 * 1024;
/// Where the report begins in a response: after status, size and 24 reserved bytes.
const REPORT_AT: usize = 32;
/// The hypervisor's error "the buffer for certificates is too small".
const VMM_INVALID_LEN: u32 = 1;
/// The hypervisor's error "busy": it throttles this guest.
const VMM_BUSY: u32 = 2;

/// Why `/dev/sev-guest` gave no report.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SevGuestError {
    /// The device is not there.
    #[error("{path} is not there ({error}): load the driver with `modprobe sev-guest`")]
    NoDevice {
        /// The device.
        path: PathBuf,
        /// What the system said.
        error: SystemError,
    },
    /// The device may not be opened.
    #[error("{path} cannot be opened ({error}): run proplet as root")]
    NoPermission {
        /// The device.
        path: PathBuf,
        /// What the system said.
        error: SystemError,
    },
    /// The hypervisor throttles this guest, or another request is under way.
    #[error("the firmware is busy ({error}): try again in a moment")]
    Busy {
        /// What the system said.
        error: SystemError,
    },
    /// The driver does not know the request, or has given up its channel to the firmware.
    #[error(
        "the device does not take requests for reports ({error}): see the kernel log; after a failed \
         request the channel to the firmware is closed until the VM is started anew"
    )]
    Unusable {
        /// What the system said.
        error: SystemError,
    },
    /// The firmware or the hypervisor refused.
    #[error(
        "the firmware refused the report ({error}; hypervisor error {vmm}, firmware error \
         {firmware:#x}): see the kernel logs of guest and host"
    )]
    Refused {
        /// What the system said.
        error: SystemError,
        /// The hypervisor's error.
        vmm: u32,
        /// The firmware's error.
        firmware: u32,
    },
    /// The firmware answered, and not with a report.
    #[error(
        "the firmware's answer is no report (status {status:#x}, size {size}): {hint}; update the \
         host's firmware"
    )]
    NoReport {
        /// The status; 0x16 stands for invalid parameters.
        status: u32,
        /// The size of the report as the firmware gives it.
        size: u32,
        /// What it means.
        hint: &'static str,
    },
}

impl SevGuestError {
    /// Whether the same request may succeed in a moment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    /// The stable code of this kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoDevice { .. } | Self::Unusable { .. } => Code::TeeUnreachable,
            Self::NoPermission { .. } => Code::TeePermission,
            Self::Busy { .. } => Code::TeeBusy,
            Self::Refused { .. } => Code::TeeFailed,
            Self::NoReport { .. } => Code::TeeMalformed,
        }
    }
}

/// How a call of the device ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exit {
    /// What the system said, when the call failed.
    pub error: Option<SystemError>,
    /// The hypervisor's error, zero for none.
    pub vmm: u32,
    /// The firmware's error, zero for none.
    pub firmware: u32,
}

/// What is wanted of the device: two calls that move bytes.
pub trait SevGuestDevice: Send + Sync + 'static {
    /// `SNP_GET_EXT_REPORT`: the response, and the certificate table into `table`.
    ///
    /// # Errors
    /// When the device cannot be opened.
    fn extended(
        &self,
        request: &[u8; SNP_REQUEST_LEN],
        response: &mut [u8; SNP_RESPONSE_LEN],
        table: &mut [u8],
    ) -> Result<Exit, SevGuestError>;

    /// `SNP_GET_REPORT`: the response.
    ///
    /// # Errors
    /// When the device cannot be opened.
    fn plain(
        &self,
        request: &[u8; SNP_REQUEST_LEN],
        response: &mut [u8; SNP_RESPONSE_LEN],
    ) -> Result<Exit, SevGuestError>;
}

/// `/dev/sev-guest`, opened for each request.
struct KernelDevice;

impl KernelDevice {
    fn open() -> Result<File, SevGuestError> {
        File::open(DEVICE).map_err(|error| {
            let (path, error) = (PathBuf::from(DEVICE), SystemError::from(error));
            if error.is_one_of(&[Errno::ACCESS, Errno::PERM]) {
                SevGuestError::NoPermission { path, error }
            } else {
                SevGuestError::NoDevice { path, error }
            }
        })
    }
}

impl From<SnpExit> for Exit {
    fn from(exit: SnpExit) -> Self {
        Self {
            error: exit.result.err().map(|error: io::Error| error.into()),
            vmm: exit.vmm,
            firmware: exit.firmware,
        }
    }
}

impl SevGuestDevice for KernelDevice {
    fn extended(
        &self,
        request: &[u8; SNP_REQUEST_LEN],
        response: &mut [u8; SNP_RESPONSE_LEN],
        table: &mut [u8],
    ) -> Result<Exit, SevGuestError> {
        Ok(device::snp_extended_report(&Self::open()?, request, response, table).into())
    }

    fn plain(
        &self,
        request: &[u8; SNP_REQUEST_LEN],
        response: &mut [u8; SNP_RESPONSE_LEN],
    ) -> Result<Exit, SevGuestError> {
        Ok(device::snp_report(&Self::open()?, request, response).into())
    }
}

/// Evidence by the SNP guest device.
pub struct SevGuest {
    device: Box<dyn SevGuestDevice>,
}

impl SevGuest {
    /// The kernel's own device.
    #[must_use]
    pub fn of_kernel() -> Self {
        Self::with(KernelDevice)
    }

    /// Another device that behaves as the kernel's.
    #[must_use]
    pub fn with(device: impl SevGuestDevice) -> Self {
        Self {
            device: Box::new(device),
        }
    }

    pub(crate) fn report(&self, report_data: &[u8; 64]) -> Result<Raw, SevGuestError> {
        let request = request(report_data);
        let mut response = [0; SNP_RESPONSE_LEN];
        let mut table = vec![0; TABLE_LEN];
        let exit = self.device.extended(&request, &mut response, &mut table)?;
        match failure(&exit) {
            None => Ok(Raw {
                evidence: report_of(&response)?,
                certificates: table,
                ..Raw::default()
            }),
            // The host's table does not fit, or the host knows nothing of tables.
            Some(SevGuestError::Refused { .. }) => {
                let mut response = [0; SNP_RESPONSE_LEN];
                let exit = self.device.plain(&request, &mut response)?;
                match failure(&exit) {
                    None => Ok(Raw {
                        evidence: report_of(&response)?,
                        ..Raw::default()
                    }),
                    Some(error) => Err(error),
                }
            }
            Some(error) => Err(error),
        }
    }
}

/// `struct snp_report_req`: the report data, VMPL 0, and 28 bytes of zeros.
fn request(report_data: &[u8; 64]) -> [u8; SNP_REQUEST_LEN] {
    let mut request = [0; SNP_REQUEST_LEN];
    for (to, from) in request.iter_mut().zip(report_data) {
        *to = *from;
    }
    request
}

/// What went wrong with a call, if anything did. Some kernels report an error of the hypervisor and none of
/// their own.
fn failure(exit: &Exit) -> Option<SevGuestError> {
    const BUSY: &[Errno] = &[Errno::BUSY, Errno::AGAIN, Errno::TIMEDOUT, Errno::INTR];
    const UNUSABLE: &[Errno] = &[Errno::NOTTY, Errno::BADF, Errno::NXIO, Errno::NODEV];
    let error = match (&exit.error, exit.vmm) {
        (None, 0) => return None,
        (Some(error), _) => error.clone(),
        (None, VMM_BUSY) => Errno::BUSY.into(),
        (None, VMM_INVALID_LEN) => Errno::NOSPC.into(),
        (None, _) => Errno::IO.into(),
    };
    Some(match error {
        error if exit.vmm == VMM_BUSY || error.is_one_of(BUSY) => SevGuestError::Busy { error },
        error if error.is_one_of(UNUSABLE) => SevGuestError::Unusable { error },
        error => SevGuestError::Refused {
            error,
            vmm: exit.vmm,
            firmware: exit.firmware,
        },
    })
}

/// The report in `struct snp_report_resp`: u32 status, u32 size, 24 reserved bytes, the report.
fn report_of(response: &[u8; SNP_RESPONSE_LEN]) -> Result<Vec<u8>, SevGuestError> {
    let number = |at: usize| {
        let bytes = response.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().map_or(0, u32::from_le_bytes)
    };
    let (status, size) = (number(0), number(4));
    let hint = match (status, size) {
        (0, 0) => "it is empty",
        (0, _) => "it has another size than a report",
        (0x16, _) => "it refuses the parameters",
        (0x27, _) => "it refuses the key",
        _ => "it refuses",
    };
    let no_report = SevGuestError::NoReport { status, size, hint };
    if status != 0 || usize::try_from(size) != Ok(REPORT_LEN) {
        return Err(no_report);
    }
    response
        .get(REPORT_AT..REPORT_AT + REPORT_LEN)
        .map(<[u8]>::to_vec)
        .ok_or(no_report)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
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
        let key = crate::snp::SigningKey::Vcek;
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
}
