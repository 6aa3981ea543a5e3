//! Why SNP evidence is refused.

use thiserror::Error;

use super::guest_policy::AbiVersion;
use super::kinds::{EndorsementKeyKind, Generation};
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
    EndorsementKeyKind {
        /// The key that the report names.
        reported: EndorsementKeyKind,
        /// The kind of certificate that came with it.
        certificate: EndorsementKeyKind,
    },
    /// No pinned certificate issued the endorsement key's certificate.
    #[error(
        "the {certificate} certificate was issued by none of the pinned ASKs and ASVKs that issue such keys: \
         it is of another CPU generation, or not of this vendor"
    )]
    UnknownIssuer {
        /// The kind of certificate.
        certificate: EndorsementKeyKind,
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
    /// A revocation list was signed by no pinned ARK.
    #[error(
        "the revocation list names an issuer that is none of the pinned ARKs: give AMD's list for the CPU \
         generation, or the roots that it belongs to"
    )]
    RevocationListIssuer,
    /// Revocation lists were given, and none of them is the root's.
    #[error(
        "no revocation list of the root {root} was given, so nothing shows that the chain was not revoked: \
         add the list of this CPU generation from AMD's key distribution service"
    )]
    NoRevocationList {
        /// The common name of the ARK.
        root: String,
    },
    /// A revocation list is too old.
    #[error(
        "the revocation list of the root {root} was good until {until}: fetch the current one from AMD's key \
         distribution service"
    )]
    RevocationListExpired {
        /// The common name of the ARK.
        root: String,
        /// The time up to which it was good, RFC 3339.
        until: String,
    },
    /// A certificate of the chain was revoked.
    #[error(
        "the certificate {certificate} was revoked on {since}: nothing below it is to be believed"
    )]
    Revoked {
        /// Its common name.
        certificate: String,
        /// When, RFC 3339.
        since: String,
    },
    /// The platform's firmware is older than the policy demands.
    #[error(
        "the SNP report's TCB {component} is {}, at least {minimum} is demanded: update the host's firmware",
        reported.map_or_else(|| "absent on this CPU".to_owned(), |reported| reported.to_string())
    )]
    TcbFloor {
        /// `bootloader`, `tee`, `snp`, `microcode` or `fmc`.
        component: &'static str,
        /// The security version in the report. `None` for an FMC on a CPU that has none.
        reported: Option<u8>,
        /// The lowest that is accepted.
        minimum: u8,
    },
    /// Lowest TCBs are demanded, and none of them is for this CPU.
    #[error(
        "a minimal TCB is demanded, but none is given for the report's CPU ({}): give one for it",
        generation.map_or("it does not say which", Generation::as_str)
    )]
    NoTcbFloor {
        /// The report's generation; reports of version 2 do not say it.
        generation: Option<Generation>,
    },
    /// Chips are listed, and a VLEK signed, which is the same on all machines of a provider.
    #[error(
        "a VLEK signed the SNP report, so nothing shows which chip made it: have the host use its VCEK, or \
         demand no chip"
    )]
    ChipUnknown,
    /// Another chip than those that are listed.
    #[error("the SNP report is of the chip {found}, which is none of those that are accepted")]
    ChipNotListed {
        /// The chip's id in hexadecimal.
        found: String,
    },
    /// A key is demanded that vouches for the VM, and the VM has none.
    #[error(
        "the SNP report names no {which} key, and one is demanded: launch the VM with a signed ID block"
    )]
    NoKey {
        /// `ID` or `author`.
        which: &'static str,
    },
    /// Another key than those that are listed vouches for the VM.
    #[error(
        "the digest of the SNP report's {which} key is {found}, which is none of those that are accepted"
    )]
    KeyNotListed {
        /// `ID` or `author`.
        which: &'static str,
        /// The digest in hexadecimal.
        found: String,
    },
    /// The guest policy allows what is to be forbidden, or does not demand what is to be demanded.
    #[error(
        "the SNP guest policy does not hold to `{rule}` (bit {bit}): launch the VM with a policy that does"
    )]
    GuestPolicy {
        /// The rule, see [`super::GuestPolicyRule`].
        rule: &'static str,
        /// The bit of the policy.
        bit: u32,
    },
    /// The guest policy lets the VM run on firmware with an older interface.
    #[error(
        "the SNP guest policy asks for firmware interface {found}, at least {minimum} is demanded: launch the \
         VM with a policy that asks for it"
    )]
    GuestAbi {
        /// The version in the policy.
        found: AbiVersion,
        /// The lowest that is accepted.
        minimum: AbiVersion,
    },
}

impl SnpError {
    pub(super) fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        FormError::malformed(what, reason).into()
    }
}
