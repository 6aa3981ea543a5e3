//! Intel TDX: quotes, event logs, the collateral that vouches for them, and their verification.

pub mod ccel;
mod error;
#[cfg(target_os = "linux")]
pub mod provider;
mod quote;

pub use error::TdxError;
pub use quote::{BodyType, MAX_QUOTE_LEN, Quote, TdReport};
