//! Why there is no report.

use std::path::PathBuf;

use proplet_types::Code;
use thiserror::Error;

use crate::SystemError;

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
