//! AMD SEV-SNP: reports, the certificates that vouch for them, and their verification.

mod certificate;
mod report;
mod roots;
mod verify;

pub use report::{Generation, REPORT_LEN, SigningKey, SnpReport, Tcb};
pub use roots::TrustRoots;
pub use verify::{ReportPolicy, verify, verify_report, verify_with};
