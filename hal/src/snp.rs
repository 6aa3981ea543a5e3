//! AMD SEV-SNP: reports, the certificates that vouch for them, and their verification.

mod certificate;
mod error;
mod report;
mod roots;
mod trust;
mod verify;

pub use error::SnpError;
pub use report::{Generation, REPORT_LEN, SigningKey, SnpReport, Tcb};
pub use roots::TrustRoots;
pub use trust::SnpTrust;
pub use verify::{verify, verify_report};
