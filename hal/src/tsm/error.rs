//! Why the kernel's TSM interface gave no evidence.

use std::path::PathBuf;

use proplet_types::Code;
use thiserror::Error;

use crate::SystemError;

/// Why the kernel's TSM interface gave no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TsmError {
    /// The folder of reports is not there.
    #[error(
        "{path} is not there ({error}): mount configfs with `mount -t configfs none \
         /sys/kernel/config`, load the guest driver (sev-guest or tdx-guest), and use a kernel of 6.7 \
         or later with CONFIG_TSM_REPORTS"
    )]
    NotMounted {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: SystemError,
    },
    /// This process may not use the interface.
    #[error("this process may not {step} in configfs ({error}): run proplet as root")]
    NoPermission {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: SystemError,
    },
    /// The interface is there, and no driver stands behind it.
    #[error(
        "the kernel has no provider of TSM reports ({error}): load the guest driver (`modprobe \
         sev-guest` or `modprobe tdx-guest`), and check that this is a guest and not a host"
    )]
    NoProvider {
        /// What the system said.
        error: SystemError,
    },
    /// Another TEE's driver, or an unknown one, stands behind the interface.
    #[error(
        "TSM reports come from `{found}` and not from `{expected}`: this is not the TEE that its devices \
         make it look like; unload the driver that does not belong here"
    )]
    OtherProvider {
        /// What the kernel says.
        found: String,
        /// What the TEE's driver is called.
        expected: &'static str,
    },
    /// The kernel's interface lacks a part.
    #[error("TSM reports have no `{attribute}` here: update the guest kernel")]
    NoAttribute {
        /// The part.
        attribute: &'static str,
    },
    /// The kernel does not run at VMPL 0, so it cannot speak for the whole VM.
    #[error(
        "the kernel does not give reports at privilege level 0 ({error}): it runs below an SVSM or \
         paravisor; start the VM without one"
    )]
    PrivilegeLevel {
        /// What the system said.
        error: SystemError,
    },
    /// Somebody else is being served.
    #[error("the TSM interface is busy ({step}: {error}): try again in a moment")]
    Busy {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: SystemError,
    },
    /// The quoting service or the firmware took too long for the kernel.
    #[error(
        "the kernel gave up waiting ({step}: {error}): check that the quoting service (qgsd) of the \
         host runs and is not overloaded"
    )]
    TimedOut {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: SystemError,
    },
    /// The driver does not do it, or has gone.
    #[error(
        "the TSM provider does not answer any more or does not do this ({step}: {error}): check the \
         kernel log of the guest, and that the hypervisor offers quotes to it"
    )]
    Gone {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: SystemError,
    },
    /// Any other error of the system.
    #[error("the kernel could not {step}: {error}; see the kernel log of the guest")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: SystemError,
    },
    /// The kernel took part of a value only.
    #[error("the kernel took {written} bytes of `{attribute}` only: update the guest kernel")]
    ShortWrite {
        /// The attribute.
        attribute: &'static str,
        /// How much was taken.
        written: usize,
    },
    /// Somebody else wrote into our entry while we used it.
    #[error(
        "somebody else uses this process's TSM entries (generation {found} instead of {expected}): \
         find the other program that writes below /sys/kernel/config/tsm/report"
    )]
    Conflict {
        /// The generation after our own writes.
        expected: u64,
        /// The generation that was read.
        found: u64,
    },
    /// A value is not of its form.
    #[error("the kernel's `{attribute}` is not as documented: {reason}; update the guest kernel")]
    Malformed {
        /// The attribute.
        attribute: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The kernel gave nothing.
    #[error(
        "the kernel's `{attribute}` is empty: the host gave no quote; check the host's quoting \
         service (TDX) or firmware (SNP)"
    )]
    Empty {
        /// The attribute.
        attribute: &'static str,
    },
    /// The kernel gave less than a report or quote.
    #[error(
        "the kernel's `{attribute}` has {len} bytes, no report or quote is shorter than {minimum}: \
         check the host's quoting service (TDX) or firmware (SNP)"
    )]
    Short {
        /// The attribute.
        attribute: &'static str,
        /// Its length.
        len: usize,
        /// The least.
        minimum: usize,
    },
    /// The kernel gave more than anything that a TEE makes.
    #[error("the kernel's `{attribute}` has more than {limit} bytes: it was not made by a TEE")]
    TooLarge {
        /// The attribute.
        attribute: &'static str,
        /// The most that is read.
        limit: usize,
    },
}

impl TsmError {
    /// Whether the same request may succeed in a moment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::TimedOut { .. } | Self::Conflict { .. }
        )
    }

    /// The stable code of this kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotMounted { .. }
            | Self::NoProvider { .. }
            | Self::NoAttribute { .. }
            | Self::Gone { .. } => Code::TeeUnreachable,
            Self::NoPermission { .. } => Code::TeePermission,
            Self::Busy { .. } | Self::TimedOut { .. } | Self::Conflict { .. } => Code::TeeBusy,
            Self::OtherProvider { .. } | Self::PrivilegeLevel { .. } => Code::TeeNotTrusted,
            Self::Failed { .. } | Self::ShortWrite { .. } => Code::TeeFailed,
            Self::Malformed { .. }
            | Self::Empty { .. }
            | Self::Short { .. }
            | Self::TooLarge { .. } => Code::TeeMalformed,
        }
    }
}
