//! Times in collateral, and for people.

use std::str::FromStr as _;
use std::time::SystemTime;

use x509_cert::der::DateTime;

use crate::FormError;

/// A time as Intel writes it, `2026-01-31T12:00:00Z`.
pub(super) fn parse(what: &'static str, text: &str) -> Result<SystemTime, FormError> {
    let time = DateTime::from_str(text).map_err(|_| {
        FormError::malformed(what, "a time is not of the form 2026-01-31T12:00:00Z")
    })?;
    Ok(time.to_system_time())
}

/// A time as text, for people: `2026-01-31T12:00:00Z`.
pub fn shown(time: SystemTime) -> String {
    DateTime::from_system_time(time).map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}
