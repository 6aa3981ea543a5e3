//! Why something does not verify.

use proplet_hal::verify as hal;
use proplet_types::Check;

use crate::claims::{ClaimsError, ClaimsKind};
use crate::receipt::ReceiptError;

/// Why something does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The TEE's evidence is refused.
    #[error("the evidence does not verify: {0}")]
    Evidence(#[from] hal::AppraisalError),
    /// The claims cannot be read.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// The evidence was made over something else.
    #[error(
        "the evidence does not sign these claims: its report data is not the SHA-512 of them, so one \
         of the two was exchanged"
    )]
    ReportData,
    /// Nobody said which hosts are good.
    #[error(
        "no expected launch measurement was given, so nothing shows which host ran in the VM (the \
         evidence says {found}): expect the measurement of a VM image that you trust, or accept any in so \
         many words"
    )]
    NoExpectedMeasurement {
        /// What the evidence says, in hexadecimal.
        found: String,
    },
    /// Nobody said which kernel and program are good.
    #[error(
        "no expected {check} was given (the evidence says {found}): the measurement of a TDX VM (MRTD) is of \
         its firmware alone, and RTMR1 and RTMR2 are what show the kernel and the program in it; expect those \
         of a VM image that you trust, or accept any measurement in so many words"
    )]
    NoExpectedRegister {
        /// `rtmr1` or `rtmr2`.
        check: Check,
        /// What the evidence says, in hexadecimal.
        found: String,
    },
    /// The VM can be read by its hypervisor.
    #[error(
        "the evidence is of a VM that its hypervisor may debug, and so read: refused unless debug VMs are \
         allowed in so many words"
    )]
    Debug,
    /// The VM's state can be taken out by a migration agent.
    #[error(
        "the evidence is of a VM that its hypervisor may migrate with an agent of its own choice, which can \
         then read everything in it: start the VM with a policy that forbids migration"
    )]
    Migratable,
    /// The claims are about a component where those of a host are needed.
    #[error("the evidence of a receipt has to be of kind `instance`, this is of kind `{0}`")]
    Kind(ClaimsKind),
    /// The receipt is malformed or its signature is wrong.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// Another key than the attested one signed the receipt.
    #[error(
        "the receipt is signed by the key {receipt}, but the evidence vouches for the key {evidence}"
    )]
    ReceiptKey {
        /// Thumbprint of the key that signed.
        receipt: String,
        /// Thumbprint in the claims.
        evidence: String,
    },
    /// Two parts of a document do not belong together.
    #[error("the receipt does not belong to this {part}: they disagree about the {what}")]
    Mismatch {
        /// `evidence` or `jwe`.
        part: &'static str,
        /// What they disagree about.
        what: &'static str,
    },
    /// Something is not as the caller expects.
    #[error("the {check} is {found}, expected {expected}")]
    Unexpected {
        /// The check that failed.
        check: Check,
        /// What the verified document says.
        found: String,
        /// What the caller expects.
        expected: String,
    },
    /// A digest over the document cannot be computed.
    #[error("the document has no canonical form: {0}")]
    Canonical(#[from] proplet_jose::Error),
}
