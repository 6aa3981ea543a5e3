//! Intel TDX: quotes, event logs, the collateral that vouches for them, and their verification.

pub mod ccel;
mod certificate;
mod chosen;
mod collateral;
mod dcap;
mod error;
mod facts;
mod pem;
#[cfg(target_os = "linux")]
pub mod provider;
mod quote;
mod root;
mod tcb;
pub mod time;
mod trust;
mod verify;

pub use collateral::{Collateral, CollateralPart, MAX_COLLATERAL_FILE_LEN, chain_of_header};
pub use error::TdxError;
pub use facts::{TdxFacts, TdxPlatform, TdxTcb};
pub use quote::{BodyType, MAX_QUOTE_LEN, Quote, TdReport};
pub use root::TdxRoot;
pub use tcb::{TcbStatus, TcbStatusError};
pub use trust::TdxTrust;
pub use verify::{verify, verify_quote};
