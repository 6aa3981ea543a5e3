//! Why there is no quote.

use std::path::PathBuf;

use proplet_types::Code;
use rustix::io::Errno;
use thiserror::Error;

use crate::SystemError;

/// Why the quoting service gave no quote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuotingError {
    /// The device is not there.
    #[error("{path} is not there ({error}): load the driver with `modprobe tdx-guest`")]
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
    /// The device gave no TDREPORT.
    #[error("the TDX module gave no TDREPORT ({error}): see the kernel log of the guest")]
    NoReport {
        /// What the system said.
        error: SystemError,
    },
    /// Nobody answers where the service should be.
    #[error(
        "the quoting service cannot be reached at {address} ({error}): start qgsd on the host, give \
         the VM a vsock device, and put its port into /etc/tdx-attest.conf"
    )]
    NoService {
        /// Where it should be.
        address: String,
        /// What the system said.
        error: SystemError,
    },
    /// A register changed while a quote was made.
    #[error(
        "a program in this VM extended an RTMR while the quote was made: try again; find the program if this \
         goes on"
    )]
    Extended,
    /// The service answers too slowly, or the connection broke.
    #[error(
        "the quoting service at {address} did not answer to the end ({error}): try again; see its \
         log on the host"
    )]
    Broken {
        /// Where it is.
        address: String,
        /// What the system said.
        error: SystemError,
    },
    /// The service answered with an error.
    #[error(
        "the quoting service refused: error {error:#x}; see its log on the host, above all whether \
         the platform is registered and its certificates are in the PCCS"
    )]
    Refused {
        /// The service's number.
        error: u32,
    },
    /// The service gave no quote.
    #[error("the quoting service gave an empty quote; see its log on the host")]
    Empty,
    /// The service's answer cannot be read.
    #[error("the quoting service's answer is malformed: {reason}; update qgsd on the host")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

impl QuotingError {
    /// Whether the same request may succeed in a moment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Extended => true,
            Self::NoReport { error } => error.is_one_of(&[Errno::BUSY, Errno::AGAIN, Errno::INTR]),
            _ => false,
        }
    }

    /// The stable code of this kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoDevice { .. } | Self::NoService { .. } => Code::TeeUnreachable,
            Self::NoPermission { .. } => Code::TeePermission,
            Self::NoReport { .. } | Self::Refused { .. } => Code::TeeFailed,
            Self::Broken { .. } | Self::Extended => Code::TeeBusy,
            Self::Empty | Self::Malformed { .. } => Code::TeeMalformed,
        }
    }
}
