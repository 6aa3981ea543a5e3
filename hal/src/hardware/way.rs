//! A way to a TEE's evidence, and why one failed.

use std::fmt;

use proplet_types::Code;
use thiserror::Error;

use super::kind::Raw;
use super::read_back::ReadBackError;
use crate::snp::provider::SevGuestError;
use crate::tdx::provider::QuotingError;
use crate::tsm::TsmError;

/// A way to a TEE's evidence: a device, a folder, a service.
pub trait Way: Send + Sync + 'static {
    /// What it is called in logs and by `proplet detect`.
    fn name(&self) -> &'static str;

    /// One request. It may block for seconds; it is called on a thread that may, and never twice at once.
    ///
    /// # Errors
    /// [`WayError`].
    fn attempt(&self, report_data: &[u8; 64]) -> Result<Raw, WayError>;
}

/// Why a way gave no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WayError {
    /// The kernel's TSM interface.
    #[error(transparent)]
    Tsm(#[from] TsmError),
    /// The SNP guest device.
    #[error(transparent)]
    SevGuest(#[from] SevGuestError),
    /// The TDX guest device or the quoting service.
    #[error(transparent)]
    Quoting(#[from] QuotingError),
    /// It gave evidence that this host does not stand for.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// It did not answer in time.
    #[error("no answer within {seconds} s: see the log of the guest's kernel and of the host")]
    TimedOut {
        /// How long it was given.
        seconds: u64,
    },
    /// A defect of this program.
    #[error("the request ended inside this process; see its log, and report it")]
    Aborted,
}

impl WayError {
    /// Whether the same request may succeed in a moment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Tsm(error) => error.is_retryable(),
            Self::SevGuest(error) => error.is_retryable(),
            Self::Quoting(error) => error.is_retryable(),
            Self::ReadBack(_) | Self::TimedOut { .. } | Self::Aborted => false,
        }
    }

    /// The stable code of this kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Tsm(error) => error.code(),
            Self::SevGuest(error) => error.code(),
            Self::Quoting(error) => error.code(),
            Self::ReadBack(error) => error.code(),
            Self::TimedOut { .. } => Code::TeeBusy,
            Self::Aborted => Code::TeeFailed,
        }
    }
}

/// The ways that were tried, and why each failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayFailures(Vec<(&'static str, WayError)>);

impl WayFailures {
    pub(super) fn new(failures: Vec<(&'static str, WayError)>) -> Self {
        Self(failures)
    }

    /// Each way and its failure, in the order in which they were tried.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &WayError)> {
        self.0.iter().map(|(way, error)| (*way, error))
    }

    /// The code of the failure that says most: evidence that was refused, else the first way's.
    #[must_use]
    pub fn code(&self) -> Code {
        let mut codes = self.0.iter().map(|(_, error)| error.code());
        codes
            .clone()
            .find(|code| *code == Code::TeeNotTrusted)
            .or_else(|| codes.next())
            .unwrap_or(Code::TeeUnreachable)
    }
}

impl fmt::Display for WayFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (way, error)) in self.iter().enumerate() {
            let before = if number == 0 { "" } else { "; " };
            write!(f, "{before}by {way} ({}): {error}", error.code())?;
        }
        Ok(())
    }
}
