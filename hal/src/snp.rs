//! AMD SEV-SNP: reports, the certificates that vouch for them, and their verification.

mod certificate;
mod chip;
mod demands;
mod error;
mod guest_policy;
mod kinds;
mod report;
mod revocation;
mod roots;
mod tcb;
mod trust;
mod verify;

pub use chip::{ChipId, ChipIdError};
pub use demands::{KeyDigest, SnpDemands};
pub use error::SnpError;
pub use guest_policy::{AbiVersion, GuestPolicyRule, NotAnAbiVersion, UnknownGuestPolicyRule};
pub use kinds::{Generation, SigningKey, Tcb, UnknownGeneration};
pub use report::{REPORT_LEN, SnpReport};
pub use revocation::RevocationLists;
pub use roots::TrustRoots;
pub use tcb::TcbFloor;
pub use trust::SnpTrust;
pub use verify::{verify, verify_report};
