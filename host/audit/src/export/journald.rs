//! The native protocol of journald: an entry is a datagram of fields.
//!
//! An entry that does not fit in a datagram can be handed over as a sealed file in memory. That is not here, because a line
//! is never so large: it has at most [`MAX_LINE_BYTES`](crate::MAX_LINE_BYTES), its fields add less than two
//! kilobytes, and a socket takes 208 KiB unless somebody lowered `net.core.wmem_default` below what Linux has had for
//! decades. There a line that is too large is left out of the export, and counted.
//!
//! A field's value ends with its line, unless it is written with its length. The id of a task may hold line ends, which is
//! how somebody who may name tasks would write fields of his own, so it is written with its length then.

use super::{
    fields::Fields,
    form::{EXPORT_NAME, FACILITY, Gap, MISSED, NAME, Severity},
};

/// A line of the log.
pub(super) fn line(number: u64, line: &str, fields: &Fields<'_>) -> Vec<u8> {
    let mut entry = Entry::new(NAME, line, Severity::of(fields));
    entry.field("PROPLET_AUDIT_KIND", fields.kind);
    entry.field("PROPLET_AUDIT_BOOT", fields.boot());
    entry.field("PROPLET_AUDIT_CHAIN", fields.chain);
    entry.field("PROPLET_AUDIT_SEQUENCE", &fields.seq.to_string());
    entry.field("PROPLET_AUDIT_NUMBER", &number.to_string());
    if let Some(task) = &fields.task {
        entry.field("PROPLET_AUDIT_TASK", task);
    }
    if let Some(code) = fields.code {
        entry.field("PROPLET_AUDIT_CODE", code);
    }
    entry.0
}

/// That lines are missing.
pub(super) fn gap(gap: &Gap<'_>) -> Vec<u8> {
    let mut entry = Entry::new(EXPORT_NAME, &gap.text, Severity::Warning);
    entry.field("PROPLET_AUDIT_KIND", MISSED);
    entry.field("PROPLET_AUDIT_BOOT", gap.boot);
    entry.field("PROPLET_AUDIT_MISSED", &gap.missed.count().to_string());
    entry.field("PROPLET_AUDIT_FIRST", &gap.missed.first.to_string());
    entry.field("PROPLET_AUDIT_LAST", &gap.missed.last.to_string());
    entry.0
}

struct Entry(Vec<u8>);

impl Entry {
    fn new(name: &str, message: &str, severity: Severity) -> Self {
        let mut entry = Self(Vec::with_capacity(message.len().saturating_add(512)));
        entry.field("MESSAGE", message);
        entry.field("PRIORITY", &(severity as u8).to_string());
        entry.field("SYSLOG_FACILITY", &FACILITY.to_string());
        entry.field("SYSLOG_IDENTIFIER", name);
        entry
    }

    fn field(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0
                .extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::export::queue::Missed;

    /// The fields of an entry, as journald reads them.
    pub(in crate::export) fn read(mut entry: &[u8]) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = BTreeMap::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, rest) = (&entry[..end], &entry[end + 1..]);
            let (name, value, rest) = match line.iter().position(|byte| *byte == b'=') {
                Some(at) => (text(&line[..at]), text(&line[at + 1..]), rest),
                None => {
                    let (length, rest) = rest.split_at(8);
                    let length = u64::from_le_bytes(length.try_into().unwrap());
                    let (value, rest) = rest.split_at(length.try_into().unwrap());
                    assert_eq!(rest[0], b'\n');
                    (text(line), text(value), &rest[1..])
                }
            };
            assert_eq!(fields.insert(name, value), None);
            entry = rest;
        }
        fields
    }

    #[test]
    fn a_task_cannot_write_fields() {
        let text = r#"{"chain":"b/7","code":"no-tee","kind":"accepted","seq":3,"task":"a\nPRIORITY=0\nMESSAGE=forged","untrusted_time":"t"}"#;
        let fields = read(&line(12, text, &Fields::of(text)));
        let expected = [
            ("MESSAGE", text),
            ("PRIORITY", "5"),
            ("PROPLET_AUDIT_BOOT", "b"),
            ("PROPLET_AUDIT_CHAIN", "b/7"),
            ("PROPLET_AUDIT_CODE", "no-tee"),
            ("PROPLET_AUDIT_KIND", "accepted"),
            ("PROPLET_AUDIT_NUMBER", "12"),
            ("PROPLET_AUDIT_SEQUENCE", "3"),
            ("PROPLET_AUDIT_TASK", "a\nPRIORITY=0\nMESSAGE=forged"),
            ("SYSLOG_FACILITY", "10"),
            ("SYSLOG_IDENTIFIER", "proplet-audit"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, BTreeMap::from(expected));
    }

    #[test]
    fn a_gap_is_no_line_of_the_log() {
        let fields = read(&gap(&Gap {
            boot: "b",
            missed: Missed { first: 3, last: 9 },
            text: "words".to_owned(),
            untrusted_time: "t".to_owned(),
        }));
        for (name, value) in [
            ("SYSLOG_IDENTIFIER", "proplet-audit-export"),
            ("PRIORITY", "4"),
            ("PROPLET_AUDIT_KIND", "missed"),
            ("PROPLET_AUDIT_MISSED", "7"),
            ("PROPLET_AUDIT_FIRST", "3"),
            ("PROPLET_AUDIT_LAST", "9"),
            ("MESSAGE", "words"),
        ] {
            assert_eq!(fields[name], value, "{name}");
        }
    }
}
