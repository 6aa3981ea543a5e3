//! Why SNP evidence is refused.

use thiserror::Error;

use super::kinds::SigningKey;
use crate::FormError;

/// Why SNP evidence, or what it is to be verified under, was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnpError {
    /// A part cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A report version that this verifier or its policy does not take.
    #[error(
        "the SNP report has version {version}, accepted are {minimum} to {maximum}: \
         update the host's firmware, or lower the policy's minimum"
    )]
    ReportVersion {
        /// The report's version.
        version: u32,
        /// The lowest version that the policy takes.
        minimum: u32,
        /// The highest version whose layout is known.
        maximum: u32,
    },
    /// The evidence brings no VCEK or VLEK certificate.
    #[error(
        "the SNP evidence carries no VCEK or VLEK certificate: have the host supply it with the \
         report, or add it from AMD's key distribution service"
    )]
    NoEndorsement,
    /// More than one certificate could be the endorsement key's.
    #[error("the SNP evidence carries {count} VCEK or VLEK certificates: send exactly one")]
    SeveralEndorsements {
        /// How many there are.
        count: usize,
    },
    /// The report says that another kind of key signed it, or none.
    #[error(
        "the SNP report says that {reported} signed it, but its certificate is a {certificate}"
    )]
    SigningKey {
        /// The key that the report names.
        reported: SigningKey,
        /// The kind of certificate that came with it.
        certificate: SigningKey,
    },
    /// No pinned certificate issued the endorsement key's certificate.
    #[error(
        "the {certificate} certificate was issued by none of the pinned ASKs: it is of another CPU \
         generation, a VLEK whose ASVK is not among the roots, or not of this vendor"
    )]
    UnknownIssuer {
        /// The kind of certificate.
        certificate: SigningKey,
    },
    /// A certificate's signature is wrong.
    #[error("the signature on the {what} certificate does not verify under its issuer's key")]
    CertificateSignature {
        /// The certificate.
        what: &'static str,
    },
    /// A certificate lacks or contradicts what its role demands.
    #[error("the {what} certificate cannot be used: {reason}")]
    Certificate {
        /// The certificate.
        what: &'static str,
        /// What is wrong.
        reason: &'static str,
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
    /// The report's signature is wrong.
    #[error(
        "the signature on the SNP report does not verify: the report was changed or is not this chip's"
    )]
    ReportSignature,
    /// The report's TCB is not the one that its key was derived for.
    #[error(
        "the SNP report's TCB {component} is {reported}, its VCEK was issued for {certified}: \
         fetch the certificate for the reported TCB"
    )]
    Tcb {
        /// `bootloader`, `tee`, `snp`, `microcode` or `fmc`.
        component: &'static str,
        /// The security version in the report.
        reported: u8,
        /// The security version in the certificate.
        certified: u8,
    },
    /// The VCEK belongs to another chip, or the host masks the chip's id.
    #[error(
        "the SNP report's chip id is not the one in its VCEK: the certificate is another chip's, or \
         the host masks the id"
    )]
    ChipId,
    /// The report was requested from a less privileged level than the measured guest's.
    #[error(
        "the SNP report is of VMPL {vmpl}, only 0 speaks for the whole VM: request it at VMPL 0"
    )]
    Vmpl {
        /// The report's VMPL.
        vmpl: u32,
    },
    /// The report's CPU is not of the generation whose root vouches for it.
    #[error("the SNP report's CPU generation is not the one that its root certificate stands for")]
    Generation,
}

impl SnpError {
    pub(super) fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        FormError::malformed(what, reason).into()
    }
}
