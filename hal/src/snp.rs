//! AMD SEV-SNP: reports, the certificates that vouch for them, and their verification.

mod certificate;
mod error;
mod kinds;
mod report;
mod roots;
mod trust;
mod verify;

pub use error::SnpError;
pub use kinds::{Generation, SigningKey, Tcb};
pub use report::{REPORT_LEN, SnpReport};
pub use roots::TrustRoots;
pub use trust::SnpTrust;
pub use verify::{verify, verify_report};
