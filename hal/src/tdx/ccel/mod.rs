//! The event log of a TDX VM (CCEL, a TCG2 crypto-agile log), and its replay.
//!
//! The log is not signed. What stands for it is that its digests, extended one after the other, end in
//! the RTMRs that the quote signs ([`EventLog::check`]): then every digest in it is the firmware's, the
//! loader's or the kernel's own, in that order, with none left out. The *data* beside a digest is
//! vouched for only where its SHA-384 is that digest ([`Record::is_measured_data`]); for other records,
//! a PE image's for example, it says where the measured bytes came from, and anybody could have changed it.
//!
//! Sources: TCG PC Client Platform Firmware Profile 1.06, section 10; UEFI 2.11, section 38.4.1
//! (register 0 is MRTD, 1 to 4 are RTMR0 to RTMR3).

mod log;
mod parse;
mod record;
mod replay;
mod trim;

pub use log::{EventLog, MAX_LOG_LEN};
pub use record::{AaelEvent, Record, TaggedEvent};
pub use replay::Rtmrs;
pub use trim::trim;
