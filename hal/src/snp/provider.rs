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

mod error;
mod guest_device;

use rustix::io::Errno;

pub use self::error::SevGuestError;
use self::guest_device::KernelDevice;
pub use self::guest_device::{Exit, SevGuestDevice};
use super::report::REPORT_LEN;
use crate::device::{SNP_REQUEST_LEN, SNP_RESPONSE_LEN};
use crate::hardware::kind::Raw;

/// The longest table that the kernel takes a buffer for (SEV_FW_BLOB_MAX_SIZE).
const TABLE_LEN: usize = 16 * 1024;
/// Where the report begins in a response: after status, size and 24 reserved bytes.
const REPORT_AT: usize = 32;
/// The hypervisor's error "the buffer for certificates is too small".
const VMM_INVALID_LEN: u32 = 1;
/// The hypervisor's error "busy": it throttles this guest.
const VMM_BUSY: u32 = 2;

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
mod tests;
