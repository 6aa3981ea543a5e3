//! What a TEE does for the host.

use async_trait::async_trait;
use proplet_types::Code;
use thiserror::Error;

use crate::{Evidence, ReportData, TeeName};

/// A TEE that this process runs in, or a fake of one.
///
/// The host composes all report data itself; a guest never reaches this trait, else it could forge a
/// handshake with the key broker. Implementations must not block the async runtime: what waits for a
/// device or a quoting service runs on a blocking thread.
#[async_trait]
pub trait TeeProvider: Send + Sync + 'static {
    /// The TEE's name as the key broker spells it.
    fn tee(&self) -> TeeName;

    /// Who makes the evidence: `snp`, `tdx`, `fake-snp`, `sample`. It is named in logs, claims and
    /// results, so that a fake is never mistaken for the TEE that it imitates.
    fn attester(&self) -> &str;

    /// Whether a hardware TEE stands behind this. False for every fake and for `sample`.
    fn is_hardware(&self) -> bool;

    /// Evidence over `report_data`, made anew at each call. It may take microseconds (a fake) to
    /// seconds (a TDX quote).
    ///
    /// # Errors
    /// [`EvidenceError`]; only [`EvidenceError::Busy`] is worth trying again as it stands.
    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError>;

    /// What the TEE reports as the VM's init-data binding: HOST_DATA (SNP, 32 bytes) or MRCONFIGID
    /// (TDX, 48 bytes). `None` when it is unset, that is all zeros, or when the TEE has none.
    ///
    /// # Errors
    /// As for [`TeeProvider::evidence`].
    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError>;
}

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
        failures: crate::hardware::WayFailures,
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
