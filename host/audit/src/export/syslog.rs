//! Syslog, as receivers have it without being told: over the network RFC 5424, on a socket of this machine what `syslog(3)`
//! sends, which is older and which is all that journald, rsyslog and syslog-ng expect there.
//!
//! The message is the line. RFC 5424 wants a byte order mark before a text in UTF-8 that says that it is one; there
//! is none, which makes it one of any bytes, since the line is to come out as it went in. Its kind is the MSGID, and what
//! is counted over all lines is the `sequenceId` of `meta`, the one element for this that is registered: elements of our own
//! would need a number of an enterprise. What else the line says, it says itself.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    fields::Fields,
    form::{EXPORT_NAME, FACILITY, Gap, MISSED, NAME, Severity},
};

/// The largest `sequenceId`; it goes on with 1.
const MAX_SEQUENCE: u64 = 2_147_483_647;
/// The longest name of a host.
const MAX_HOST_CHARS: usize = 255;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Who sends.
pub(super) struct Sender {
    host: String,
    process: u32,
}

impl Sender {
    /// This process, on this machine.
    pub(super) fn this() -> Self {
        let name = rustix::system::uname();
        Self::new(&name.nodename().to_string_lossy(), std::process::id())
    }

    fn new(host: &str, process: u32) -> Self {
        let is_good = |c: &char| c.is_ascii_graphic();
        let host: String = host.chars().filter(is_good).take(MAX_HOST_CHARS).collect();
        Self {
            host: match host.is_empty() {
                true => "-".to_owned(),
                false => host,
            },
            process,
        }
    }

    /// A line of the log, for the network.
    pub(super) fn line(&self, number: u64, line: &str, fields: &Fields<'_>) -> Vec<u8> {
        let sequence = (number % MAX_SEQUENCE).saturating_add(1);
        let head = Head {
            severity: Severity::of(fields),
            time: fields.untrusted_time,
            name: NAME,
            kind: fields.kind,
        };
        let about = format!("[meta sequenceId=\"{sequence}\"]");
        self.frame(&head, &about, line)
    }

    /// That lines are missing, for the network.
    pub(super) fn gap(&self, gap: &Gap<'_>) -> Vec<u8> {
        self.frame(&Head::of(gap), "-", &gap.text)
    }

    /// A line of the log, for a socket of this machine.
    pub(super) fn local_line(&self, line: &str, fields: &Fields<'_>) -> Vec<u8> {
        let head = Head {
            severity: Severity::of(fields),
            time: fields.untrusted_time,
            name: NAME,
            kind: fields.kind,
        };
        self.local_frame(&head, line)
    }

    /// That lines are missing, for a socket of this machine.
    pub(super) fn local_gap(&self, gap: &Gap<'_>) -> Vec<u8> {
        self.local_frame(&Head::of(gap), &gap.text)
    }

    fn frame(&self, head: &Head<'_>, about: &str, message: &str) -> Vec<u8> {
        let Self { host, process } = self;
        let Head {
            time, name, kind, ..
        } = head;
        let priority = head.priority();
        format!("<{priority}>1 {time} {host} {name} {process} {kind} {about} {message}")
            .into_bytes()
    }

    /// The time is UTC, as musl's `syslog(3)` has it: receivers of this machine take their own or that of the line.
    fn local_frame(&self, head: &Head<'_>, message: &str) -> Vec<u8> {
        let time = OffsetDateTime::parse(head.time, &Rfc3339);
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let month = usize::from(u8::from(time.month())).saturating_sub(1);
        let month = MONTHS.get(month).copied().unwrap_or_default();
        let (hour, minute, second) = time.to_hms();
        let (priority, day) = (head.priority(), time.day());
        let (name, process) = (head.name, self.process);
        format!(
            "<{priority}>{month} {day:2} {hour:02}:{minute:02}:{second:02} {name}[{process}]: {message}"
        )
        .into_bytes()
    }
}

struct Head<'a> {
    severity: Severity,
    time: &'a str,
    name: &'static str,
    kind: &'a str,
}

impl<'a> Head<'a> {
    fn of(gap: &'a Gap<'_>) -> Self {
        Self {
            severity: Severity::Warning,
            time: &gap.untrusted_time,
            name: EXPORT_NAME,
            kind: MISSED,
        }
    }

    fn priority(&self) -> u8 {
        FACILITY
            .saturating_mul(8)
            .saturating_add(self.severity as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::queue::Missed;

    const LINE: &str =
        r#"{"chain":"b/7","kind":"accepted","seq":3,"untrusted_time":"2023-01-04T22:03:20.123Z"}"#;

    fn text(frame: Vec<u8>) -> String {
        String::from_utf8(frame).unwrap()
    }

    fn gap() -> Gap<'static> {
        Gap {
            boot: "b",
            missed: Missed { first: 3, last: 9 },
            text: "words".to_owned(),
            untrusted_time: "2023-11-14T22:13:20Z".to_owned(),
        }
    }

    #[test]
    fn frames_are_those_of_rfc_5424() {
        let sender = Sender::new("host", 42);
        let line = |number, line| text(sender.line(number, line, &Fields::of(line)));
        assert_eq!(
            line(0, LINE),
            format!(
                "<86>1 2023-01-04T22:03:20.123Z host proplet-audit 42 accepted [meta sequenceId=\"1\"] {LINE}"
            )
        );
        assert!(line(MAX_SEQUENCE - 1, LINE).contains("[meta sequenceId=\"2147483647\"]"));
        assert!(line(MAX_SEQUENCE, LINE).contains("[meta sequenceId=\"1\"]"));
        let refused = LINE.replace("\"kind\"", "\"code\":\"no-tee\",\"kind\"");
        assert!(line(0, &refused).starts_with("<85>1 "));
        assert_eq!(
            text(sender.gap(&gap())),
            "<84>1 2023-11-14T22:13:20Z host proplet-audit-export 42 missed - words"
        );
    }

    #[test]
    fn frames_on_this_machine_are_those_of_syslog_3() {
        let sender = Sender::new("host", 42);
        assert_eq!(
            text(sender.local_line(LINE, &Fields::of(LINE))),
            format!("<86>Jan  4 22:03:20 proplet-audit[42]: {LINE}")
        );
        assert_eq!(
            text(sender.local_gap(&gap())),
            "<84>Nov 14 22:13:20 proplet-audit-export[42]: words"
        );
        // A time that cannot be read is no more wrong than any other.
        let line = LINE.replace("2023-", "x");
        let local = text(sender.local_line(&line, &Fields::of(&line)));
        assert!(local.starts_with("<86>Jan  1 00:00:00 "), "{local}");
    }

    #[test]
    fn a_host_has_a_name_that_is_one_word() {
        for (name, expected) in [
            ("vm-1.example", "vm-1.example"),
            ("a b\u{e9}\n", "ab"),
            ("", "-"),
            (&"x".repeat(300), &"x".repeat(255)),
        ] {
            assert_eq!(Sender::new(name, 1).host, expected);
        }
        assert_ne!(Sender::this().host, "");
    }
}
