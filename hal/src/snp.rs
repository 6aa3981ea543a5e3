//! AMD SEV-SNP: reports, the certificates that vouch for them, and their verification.

mod certificate;
mod chip;
mod demands;
#[cfg(target_os = "linux")]
mod endorsement;
mod error;
mod guest_policy;
mod kinds;
#[cfg(target_os = "linux")]
pub mod provider;
mod report;
mod revocation;
mod roots;
pub(crate) mod table;
mod tcb;
mod trust;
mod verify;

pub use chip::{ChipId, ChipIdError};
pub use demands::{KeyDigest, SnpDemands};
#[cfg(target_os = "linux")]
pub use endorsement::{CertificateError, CertificateFolder, CertificateSource, Endorsement};
pub use error::SnpError;
pub use guest_policy::{AbiVersion, GuestPolicyRule, NotAnAbiVersion, UnknownGuestPolicyRule};
pub use kinds::{EndorsementKeyKind, Generation, Tcb, UnknownGeneration};
pub use report::{REPORT_LEN, SnpReport};
pub use revocation::RevocationLists;
pub use roots::TrustRoots;
pub use table::{CertificateTable, TableError, TableKind};
pub use tcb::{NotATcbFloor, TcbFloor};
pub use trust::SnpTrust;
#[cfg(target_os = "linux")]
pub(crate) use verify::is_vouched_for;
pub use verify::{is_signed_by, verify, verify_report};
