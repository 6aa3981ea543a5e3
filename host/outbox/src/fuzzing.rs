//! Entry points of the fuzzers, which are built outside this crate. Not for other use.

use crate::entry::Entry;

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
