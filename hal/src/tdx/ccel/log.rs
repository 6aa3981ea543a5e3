//! A log as its records.

use super::record::Record;

/// Larger than any log: firmware sets one MiB aside, and little of it is used.
pub const MAX_LOG_LEN: usize = 2 * 1024 * 1024;

/// What an error calls the log.
pub(super) const WHAT: &str = "event log";

/// A parsed log. Nothing in it is verified before [`EventLog::check`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventLog {
    /// Every record after the first, which only describes the log.
    pub records: Vec<Record>,
}
