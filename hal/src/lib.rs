//! TEE detection, evidence providers and evidence verifiers.
//!
//! Two halves that never meet. The *prover* half is [`TeeProvider`]: one trait that every TEE, and
//! every fake in the test kit, implements. It turns report data into [`Evidence`]. The *verifier*
//! half is [`verify`]: it turns evidence from anybody into [`verify::Verified`] facts, needs no TEE,
//! does no I/O and takes the time as an argument, so that it runs offline and gives the same answer
//! twice.
//!
//! What arrives at the verifier is untrusted: sizes are bounded, nothing panics, and each refusal is
//! a typed error. What the verifier returns are facts about the TEE and the report data that was
//! signed. It does not decide whether a measurement is the expected one: its callers do.
//!
//! [`detection`] says which TEE this machine offers. A wrong answer costs availability, never
//! secrecy: what a key broker or relying party believes is evidence.
#![deny(missing_docs)]

mod anchor;
mod cursor;
pub mod detection;
#[cfg(target_os = "linux")]
mod device;
mod evidence;
mod evidence_error;
pub mod flavour;
mod form;
#[cfg(target_os = "linux")]
pub mod hardware;
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "there is no CPUID")
)]
mod hyper_v;
pub mod init_data;
mod on_demand;
mod provider;
pub mod reference_values;
mod report_data;
mod sample;
pub mod snp;
#[cfg(target_os = "linux")]
mod system_error;
pub mod tdx;
mod tee_name;
#[cfg(target_os = "linux")]
pub mod tsm;
pub mod verify;

pub use evidence::Evidence;
pub use evidence_error::EvidenceError;
pub use flavour::Flavour;
pub use form::FormError;
pub use init_data::InitData;
pub use proplet_types::clock;
pub use provider::TeeProvider;
pub use report_data::{ReportData, ReportDataError};
#[cfg(target_os = "linux")]
pub use system_error::SystemError;
pub use tee_name::{TeeName, TeeNameError};
