//! Why TDX evidence is refused.

use thiserror::Error;

use super::tcb::TcbStatus;
use crate::FormError;

/// Why TDX evidence, or what it is to be verified under, was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TdxError {
    /// A part cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A quote of a kind that is not verified here.
    #[error(
        "the TDX quote has {what} {found}, which is not verified here: have it made as a quote of \
         version 4 or 5 with an ECDSA P-256 key and its PCK certificates, as Intel's quoting service does"
    )]
    QuoteKind {
        /// What is of another kind.
        what: &'static str,
        /// The number that stands for it in the quote.
        found: u32,
    },
    /// The event log does not lead to the registers of the quote.
    #[error(
        "the event log does not belong to the TDX quote: replayed, RTMR{register} is {replayed}, the quote \
         says {quoted}; the log was changed, cut, or is another VM's"
    )]
    EventLogReplay {
        /// 0 to 3.
        register: usize,
        /// What the log's digests give, in hexadecimal.
        replayed: String,
        /// What the quote says, in hexadecimal.
        quoted: String,
    },
    /// There is no collateral for the quote's platform.
    #[error(
        "the TDX quote cannot be verified without collateral: the {what} is missing (FMSPC {fmspc}); fetch it \
         with `proplet collateral fetch URL --fmspc {fmspc} --out DIR` and give it with --collateral DIR"
    )]
    NoCollateral {
        /// What is missing.
        what: String,
        /// The kind of platform, in hexadecimal.
        fmspc: String,
    },
    /// A file of collateral cannot be read.
    #[error("the collateral in {name} cannot be used: {error}")]
    CollateralFile {
        /// The file's name.
        name: String,
        /// What is wrong.
        error: FormError,
    },
    /// A part of the collateral does not hold at the given time.
    #[error(
        "the {what} in the collateral is {state} at the time of verification, it holds from {from} to {until}: \
         fetch the collateral again with `proplet collateral fetch`, or check the clock"
    )]
    CollateralTime {
        /// The part.
        what: &'static str,
        /// `not yet valid` or `expired`.
        state: &'static str,
        /// When it was issued.
        from: String,
        /// When its next update is due.
        until: String,
    },
    /// A certificate is not valid at the given time.
    #[error(
        "the {what} certificate is {state} at the time of verification: check the clock, or renew it"
    )]
    CertificateTime {
        /// The certificate.
        what: &'static str,
        /// `not yet valid` or `expired`.
        state: &'static str,
    },
    /// No certificate of the collateral signed a part of it.
    #[error(
        "the {what} in the collateral is not signed by any certificate that came with it: it was changed, or \
         the issuer chain is missing; fetch the collateral again"
    )]
    CollateralSignature {
        /// The part.
        what: &'static str,
    },
    /// A certificate does not lead to the root.
    #[error("a certificate does not lead to the pinned TDX root: {reason}")]
    Chain {
        /// What failed.
        reason: String,
    },
    /// A certificate was revoked.
    #[error(
        "the {what} certificate was revoked by its issuer: nothing that it vouches for is believed"
    )]
    CertificateRevoked {
        /// The certificate.
        what: &'static str,
    },
    /// The quote's signature is wrong.
    #[error("the signature on the TDX quote does not verify: the quote was changed")]
    QuoteSignature,
    /// The quoting enclave is not vouched for.
    #[error(
        "the TDX quote's attestation key is not vouched for: the quoting enclave's report is not signed by the \
         PCK, or is about another key"
    )]
    QuotingEnclaveSignature,
    /// The quoting enclave is not Intel's.
    #[error("the quoting enclave is not one that Intel's identity describes: {reason}")]
    QuotingEnclave {
        /// What differs.
        reason: String,
    },
    /// The platform is older than every TCB level that Intel lists.
    #[error(
        "the platform's security versions are below every TCB level that Intel lists for FMSPC {fmspc}: update \
         its firmware, or fetch collateral that is of its kind"
    )]
    NoTcbLevel {
        /// The kind of platform, in hexadecimal.
        fmspc: String,
    },
    /// The platform's TCB status is not accepted.
    #[error(
        "the platform's TCB status is {status} (TCB of {date}; advisories: {advisories}), which is not \
         accepted: update the platform's firmware, or accept the status by name"
    )]
    TcbStatus {
        /// The status.
        status: TcbStatus,
        /// The date of the TCB level.
        date: String,
        /// The advisories that apply, separated by commas.
        advisories: String,
    },
    /// An advisory that is not accepted applies to the platform.
    #[error(
        "the security advisory {advisory} applies to the platform, which is not accepted: update it"
    )]
    Advisory {
        /// The advisory's id.
        advisory: String,
    },
    /// Bits that must not be set are, or the reverse.
    #[error(
        "the TDX quote has {what} with the bits {bits:#x} as no VM should have them: start it anew without"
    )]
    Reserved {
        /// `TD attributes`, `XFAM`, or `TDX module attributes`.
        what: &'static str,
        /// The bits that are wrong.
        bits: u64,
    },
    /// The host can take pages from the VM unseen.
    #[error(
        "the TDX quote is of a VM without SEPT_VE_DISABLE, whose host can make its kernel handle exceptions at \
         any time: start it with that attribute, as QEMU does by default"
    )]
    SeptVe,
    /// A migration agent can take the VM's state out.
    #[error(
        "the TDX quote is of a VM that a service TD may migrate, and with it everything in its memory: start it \
         without"
    )]
    Migratable,
    /// Somebody else than Intel signed the TDX module.
    #[error("the TDX module was signed by {signer}, not by Intel: it is not a production module")]
    ModuleSigner {
        /// MRSIGNERSEAM in hexadecimal.
        signer: String,
    },
    /// The TDX module is not on the list.
    #[error("the TDX module's measurement {found} is not among the expected ones")]
    Module {
        /// MRSEAM in hexadecimal.
        found: String,
    },
    /// The TDX module is not one that Intel's TCB info describes.
    #[error("the TDX module is not one that Intel's TCB info describes: {reason}")]
    ModuleTcb {
        /// What differs.
        reason: String,
    },
    /// The machine is not on the list.
    #[error(
        "the TDX quote is of the machine with PPID {ppid} and platform instance id {instance}, which is not \
         among the expected ones: it may have been relayed from elsewhere"
    )]
    Platform {
        /// PPID in hexadecimal.
        ppid: String,
        /// Platform instance id in hexadecimal, or `none`.
        instance: String,
    },
    /// Refused for a reason that has no name of its own.
    #[error("the TDX quote or its collateral is refused: {reason}")]
    Refused {
        /// What the verifying library says.
        reason: String,
    },
}
