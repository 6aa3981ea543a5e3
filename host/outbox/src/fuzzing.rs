//! Entry points of the fuzzers, which are built outside this crate. Not for other use.

use crate::{device::is_header, entry::Entry};

/// Reads an entry as it lies on the disk; what reads is written as the same bytes. True when it reads.
pub fn entry(bytes: &[u8]) -> bool {
    let Ok(entry) = Entry::decode(bytes) else {
        return false;
    };
    let written = entry.encode();
    assert_eq!(written.as_deref(), Ok(bytes), "an entry changes on its way");
    assert!(entry.size() >= 4);
    true
}

/// Reads the two copies of a device's header, each of half of the bytes; what reads is written as it was read. True when
/// there is one.
pub fn header(bytes: &[u8]) -> bool {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    is_header(first, second)
}
