//! Why a TEE gave no evidence.

use proplet_types::Code;
use thiserror::Error;

use crate::TeeName;
#[cfg(target_os = "linux")]
use crate::hardware::way::WayFailures;

/// Why a TEE gave no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The TEE or its quoting service is serving somebody else, or is throttled.
    #[error("the {tee} attester is busy: try again in a moment")]
    Busy {
        /// The attester that was asked.
        tee: TeeName,
    },
    /// The device or interface is not there or may not be opened.
    #[error(
        "the {tee} attester cannot be reached: {reason}; check the guest device and its permissions"
    )]
    Unavailable {
        /// The attester that was asked.
        tee: TeeName,
        /// What was tried and how it failed.
        reason: String,
    },
    /// The TEE's firmware or quoting service answered with an error.
    #[error("the {tee} attester refused to make evidence: {reason}; see the host's firmware log")]
    Refused {
        /// The attester that was asked.
        tee: TeeName,
        /// The error as the firmware or service gave it.
        reason: String,
    },
    /// The TEE gave something that is no evidence, or evidence over other report data.
    #[error("the {tee} attester gave unusable evidence: {reason}; update the guest kernel or host")]
    Malformed {
        /// The attester that was asked.
        tee: TeeName,
        /// What is wrong with it.
        reason: String,
    },
    /// It took longer than is waited for.
    #[error(
        "the {tee} attester gave no evidence within {seconds} s: see the logs of guest and host"
    )]
    TimedOut {
        /// The attester that was asked.
        tee: TeeName,
        /// How long was waited.
        seconds: u64,
    },
    /// No way to the hardware gave evidence.
    #[cfg(target_os = "linux")]
    #[error("the {tee} attester gave no evidence {failures}")]
    NoWay {
        /// The attester that was asked.
        tee: TeeName,
        /// What was tried and how it failed.
        failures: WayFailures,
    },
}

impl EvidenceError {
    /// The stable code of this kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Busy { .. } | Self::TimedOut { .. } => Code::TeeBusy,
            Self::Unavailable { .. } => Code::TeeUnreachable,
            Self::Refused { .. } => Code::TeeFailed,
            Self::Malformed { .. } => Code::TeeMalformed,
            #[cfg(target_os = "linux")]
            Self::NoWay { failures, .. } => failures.code(),
        }
    }
}
