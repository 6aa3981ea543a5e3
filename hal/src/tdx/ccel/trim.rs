//! The used part of a log's area.

use super::log::{MAX_LOG_LEN, WHAT};
use super::parse;
use crate::FormError;

/// What ends a log that is sent.
const END: [u8; 8] = [0xff; 8];
/// Larger than any area that firmware sets aside.
const MAX_AREA_LEN: usize = 16 * 1024 * 1024;

/// The log in the area of an ACPI table (`/sys/firmware/acpi/tables/data/CCEL`), in the form in which
/// CoCo's attester sends it: the used part, then eight bytes of ones.
///
/// # Errors
/// [`FormError`] when there is no log in the area, or too long a one.
pub fn trim(area: &[u8]) -> Result<Vec<u8>, FormError> {
    FormError::check_size(WHAT, area.len(), MAX_AREA_LEN)?;
    let (_, used) = parse::log(area)?;
    let log = area.get(..used).unwrap_or_default();
    let trimmed = [log, &END].concat();
    FormError::check_size(WHAT, trimmed.len(), MAX_LOG_LEN)?;
    Ok(trimmed)
}
