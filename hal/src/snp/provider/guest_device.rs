//! What is wanted of the device, and the kernel's own.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::error::SevGuestError;
use crate::SystemError;
use crate::device::{self, SNP_REQUEST_LEN, SNP_RESPONSE_LEN, SnpExit};

/// The kernel's device.
pub(super) const DEVICE: &str = "/dev/sev-guest";

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
pub(super) struct KernelDevice;

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
