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

mod parse;
mod record;
mod replay;
mod trim;

pub use record::{AaelEvent, Record, TaggedEvent};
pub use replay::Rtmrs;
pub use trim::trim;

use crate::FormError;

/// Larger than any log: firmware sets one MiB aside, and little of it is used.
pub const MAX_LOG_LEN: usize = 2 * 1024 * 1024;
/// More records than firmware, loader and kernel make together.
const MAX_RECORDS: usize = 32 * 1024;
/// Digests of one record: one for each algorithm that a log can have.
const MAX_DIGESTS: usize = 8;
/// What an error calls the log.
const WHAT: &str = "event log";

/// A parsed log. Nothing in it is verified before [`EventLog::check`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventLog {
    /// Every record after the first, which only describes the log.
    pub records: Vec<Record>,
}

impl EventLog {
    /// Parses a log: the ACPI table's whole area, or only the used part of it.
    ///
    /// # Errors
    /// [`FormError`] when it is larger than [`MAX_LOG_LEN`], or malformed anywhere before its end mark.
    pub fn parse(log: &[u8]) -> Result<Self, FormError> {
        FormError::check_size(WHAT, log.len(), MAX_LOG_LEN)?;
        Ok(parse::log(log)?.0)
    }
}
