//! Lines of audit logs, which whoever has a host's disk can write.

use proplet_audit::{Entry, verify::Verifier};
use proplet_types::Digest;

/// A log: every entry that is read has the hash of its line, and what was read of a file is what it has.
pub fn audit_line(bytes: &[u8]) -> bool {
    let (mut verifier, mut entries) = (Verifier::new(), 0_u64);
    let read = verifier.file("log", bytes, |entry| {
        entries += 1;
        let line = bytes.split(|byte| *byte == b'\n');
        let mut line = line.filter(|line| Digest::of(line) == entry.hash);
        let line = line.next().expect("an entry of no line");
        assert_eq!(Entry::parse(line).as_ref(), Ok(entry));
    });
    assert!(read.is_ok());
    // In what a receiver of an export wrote, all that is an entry by itself is one too.
    let (mut exported, mut more) = (Verifier::new(), 0_u64);
    let read = exported.exported("log", bytes, |_| more += 1);
    assert!(read.is_ok() && more >= entries);
    let report = verifier.finish();
    assert!(entries <= report.lines);
    assert!(report.lines <= bytes.split(|byte| *byte == b'\n').count() as u64);
    assert!(report.tasks <= entries);
    entries > 0
}
