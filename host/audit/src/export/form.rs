//! How lines are written for their receiver.

use std::sync::Arc;

use proplet_types::{Clock, rfc3339};

use super::{Export, Syslog, fields::Fields, journald, queue::Missed, syslog};

/// Under this name a receiver gets the lines of the log, and nothing else: they are a log by themselves.
pub(super) const NAME: &str = "proplet-audit";
/// Under this one, what there is to say about the export.
pub(super) const EXPORT_NAME: &str = "proplet-audit-export";
/// authpriv: what receivers keep where not everybody reads it.
pub(super) const FACILITY: u8 = 10;
/// The kind of what says that lines are missing.
pub(super) const MISSED: &str = "missed";

/// How much a line matters, as syslog and journald count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// Lines are missing.
    Warning = 4,
    /// Something was refused, or failed.
    Notice = 5,
    /// Something was done.
    Info = 6,
}

impl Severity {
    /// Of a line.
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        match fields.code {
            Some(_) => Self::Notice,
            None => Self::Info,
        }
    }
}

/// Lines that are missing, in words.
pub(super) struct Gap<'a> {
    pub boot: &'a str,
    pub missed: Missed,
    pub text: String,
    /// When this is said.
    pub untrusted_time: String,
}

/// What a receiver understands.
pub(super) struct Form {
    kind: Kind,
    boot: String,
    clock: Arc<dyn Clock>,
}

enum Kind {
    Journald,
    Local(syslog::Sender),
    Rfc5424 {
        sender: syslog::Sender,
        counted: bool,
    },
}

impl Form {
    /// That of this receiver, for the log of this boot.
    pub(super) fn new(export: &Export, boot: String, clock: Arc<dyn Clock>) -> Self {
        let sender = syslog::Sender::this;
        let kind = match export {
            Export::Journald(_) => Kind::Journald,
            Export::Syslog(Syslog::Unix(_)) => Kind::Local(sender()),
            Export::Syslog(Syslog::Tcp { .. }) => Kind::Rfc5424 {
                sender: sender(),
                counted: true,
            },
            Export::Syslog(Syslog::Udp { .. }) => Kind::Rfc5424 {
                sender: sender(),
                counted: false,
            },
        };
        Self { kind, boot, clock }
    }

    /// A line of the log.
    pub(super) fn line(&self, number: u64, line: &str) -> Vec<u8> {
        let fields = Fields::of(line);
        match &self.kind {
            Kind::Journald => journald::line(number, line, &fields),
            Kind::Local(sender) => sender.local_line(line, &fields),
            Kind::Rfc5424 { sender, counted } => {
                counted_frame(sender.line(number, line, &fields), *counted)
            }
        }
    }

    /// That lines are missing.
    pub(super) fn missed(&self, missed: Missed) -> Vec<u8> {
        let gap = Gap {
            boot: &self.boot,
            missed,
            text: words(&self.boot, missed),
            untrusted_time: rfc3339(self.clock.now()),
        };
        match &self.kind {
            Kind::Journald => journald::gap(&gap),
            Kind::Local(sender) => sender.local_gap(&gap),
            Kind::Rfc5424 { sender, counted } => counted_frame(sender.gap(&gap), *counted),
        }
    }
}

/// What is missing, for people. Numbers of lines count all of a boot, from 0.
fn words(boot: &str, missed: Missed) -> String {
    let Missed { first, last } = missed;
    let count = missed.count();
    format!(
        "{count} entries of the audit log were not exported, lines {first} to {last} of boot {boot}: get them from its files"
    )
}

/// RFC 6587, octet counting: a receiver need not look for the end of a frame in what strangers wrote.
fn counted_frame(frame: Vec<u8>, counted: bool) -> Vec<u8> {
    match counted {
        true => [format!("{} ", frame.len()).as_bytes(), &frame].concat(),
        false => frame,
    }
}
