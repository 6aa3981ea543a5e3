//! A fake TDX TEE.

mod builder;
mod collateral;
mod der;
mod event_log;
mod fake;
mod faults;
mod pki;
mod quote;
mod svn;
mod tampering;

pub use builder::FakeTdxBuilder;
pub use collateral::{ComponentStatus, TcbStatus, TdxCollateral, TdxCollateralBuilder};
pub use event_log::EventLog;
pub use fake::FakeTdx;
pub use faults::CollateralFault;
pub use pki::{Period, Platform, ROOT_PEM, Revoked, TdxPki};
pub use quote::{QuoteForm, TD_REPORT_LEN};
pub use tampering::QuoteTampering;

#[cfg(test)]
mod tests;
