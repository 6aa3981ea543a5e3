//! The bytes of a log.

use super::log::{EventLog, MAX_LOG_LEN, WHAT};
use super::record::{NO_ACTION, Record, SHA384_LEN};
use crate::FormError;
use crate::cursor::Cursor;

/// More records than firmware, loader and kernel make together.
const MAX_RECORDS: usize = 32 * 1024;

/// Digests of one record: one for each algorithm that a log can have.
const MAX_DIGESTS: usize = 8;
/// SHA-384 in TCG's registry of algorithms.
const SHA384: u16 = 0x0c;
/// Algorithms with the length of their digests.
const ALGORITHMS: [(u16, usize); 5] = [
    (0x04, 20),
    (0x0b, 32),
    (SHA384, SHA384_LEN),
    (0x0d, 64),
    (0x12, 32),
];
/// Signature of the record that describes a log, and that which attesters write where there was no log.
const SIGNATURES: [[u8; 16]; 2] = [*b"Spec ID Event03\0", [0; 16]];
/// What stands in place of a record's first bytes after the last one.
const END_LEN: usize = 8;

impl EventLog {
    /// Parses a log: the ACPI table's whole area, or only the used part of it.
    ///
    /// # Errors
    /// [`FormError`] when it is larger than [`MAX_LOG_LEN`], or malformed anywhere before its end mark.
    pub fn parse(log: &[u8]) -> Result<Self, FormError> {
        FormError::check_size(WHAT, log.len(), MAX_LOG_LEN)?;
        Ok(self::log(log)?.0)
    }
}

/// The log, and how many bytes of the area it takes, without the end mark.
pub(super) fn log(area: &[u8]) -> Result<(EventLog, usize), FormError> {
    let mut cursor = Cursor::new(area, WHAT);
    let algorithms = description(&mut cursor)?;
    let mut records = Vec::new();
    while !at_end(&cursor) {
        FormError::check_size(WHAT, records.len().saturating_add(1), MAX_RECORDS)?;
        records.push(record(&mut cursor, &algorithms)?);
    }
    Ok((EventLog { records }, cursor.position()))
}

/// Eight bytes of ones or of zeros, or nothing more.
fn at_end(cursor: &Cursor<'_>) -> bool {
    let rest = cursor.rest();
    match rest.first_chunk::<END_LEN>() {
        Some(mark) => [[0xff; END_LEN], [0; END_LEN]].contains(mark),
        None => rest.is_empty(),
    }
}

/// The first record, in the form of TCG 1.2, and in it the algorithms of the others.
fn description(cursor: &mut Cursor<'_>) -> Result<Vec<(u16, usize)>, FormError> {
    let malformed = |reason: &str| FormError::malformed(WHAT, reason);
    let _register = cursor.u32()?;
    if cursor.u32()? != NO_ACTION {
        return Err(malformed("it does not begin with its description"));
    }
    let _digest: [u8; 20] = cursor.array()?;
    let size = cursor.length32()?;
    let mut data = Cursor::new(cursor.take(size)?, WHAT);
    if !SIGNATURES.contains(&data.array()?) {
        return Err(malformed("it is not a crypto-agile log (Spec ID Event03)"));
    }
    let _platform_and_version: [u8; 8] = data.array()?;
    let count = data.length32()?;
    FormError::check_size(WHAT, count, MAX_DIGESTS)?;
    let mut algorithms = Vec::with_capacity(count);
    for _ in 0..count {
        let (algorithm, length) = (data.u16()?, usize::from(data.u16()?));
        if known_length(algorithm) != Some(length) {
            return Err(malformed(
                "it names an unknown digest algorithm, or a known one with a wrong length",
            ));
        }
        algorithms.push((algorithm, length));
    }
    let vendor = usize::from(data.u8()?);
    let _vendor = data.take(vendor)?;
    if !data.rest().is_empty() {
        return Err(malformed("its description has bytes too many"));
    }
    Ok(algorithms)
}

fn known_length(algorithm: u16) -> Option<usize> {
    let known = ALGORITHMS.iter().find(|(known, _)| *known == algorithm);
    known.map(|(_, length)| *length)
}

fn record(cursor: &mut Cursor<'_>, algorithms: &[(u16, usize)]) -> Result<Record, FormError> {
    let malformed = |reason: &str| FormError::malformed(WHAT, reason);
    let register = cursor.u32()?;
    let kind = cursor.u32()?;
    let count = cursor.length32()?;
    FormError::check_size(WHAT, count, MAX_DIGESTS)?;
    let mut digest = None;
    for _ in 0..count {
        let algorithm = cursor.u16()?;
        let length = algorithms.iter().find(|(known, _)| *known == algorithm);
        let (_, length) =
            length.ok_or_else(|| malformed("a record's algorithm is not in its description"))?;
        let bytes = cursor.take(*length)?;
        if algorithm == SHA384 {
            let bytes = bytes.try_into().ok();
            if digest.is_some() {
                return Err(malformed("a record has two SHA-384 digests"));
            }
            digest = bytes;
        }
    }
    let size = cursor.length32()?;
    let data = cursor.take(size)?.to_vec();
    Ok(Record {
        register,
        kind,
        digest,
        data,
    })
}
