//! Copies of lines for whoever collects logs: journald, or a syslog receiver.
//!
//! The files stay the log of record. A line goes into a bounded queue ([`queue`]) at the moment it gets its place in the
//! log, whether or not its disk takes it, and a thread of its own hands it on ([`thread`]). So nothing waits for the
//! receiver: neither tasks nor the disk. What finds no room while the receiver is away or slow is left out of the export,
//! counted, and said in the export itself, at the place where it is missing.
//!
//! **What is exported** is the line as it is in the file, byte for byte, so that the lines of an export are a log
//! themselves: whoever has them can verify them. What is sealed stays sealed. Beside the line there is only what the line
//! says too, for receivers that sort by it.
//!
//! **What an export proves** is what any copy proves: nothing until it is verified, and then what a head from elsewhere vouches
//! for. Whoever is between here and its reader can leave lines out, and anybody at all can write lines of their own under
//! the same name. Neither makes a chain that leads to the head of a receipt. Nor does the receiver say what it kept: a datagram
//! that was taken, or a line in the buffer of a connection that breaks, may be gone unseen, until its neighbours are verified.
//!
//! Nothing is read from the receiver.

mod fields;
mod form;
mod journald;
mod queue;
mod sockets;
mod syslog;
mod thread;

use std::{borrow::Cow, fmt, path::PathBuf};

use thiserror::Error;

pub(crate) use self::{queue::Queue, thread::Exporter};

/// Where journald takes entries by its native protocol.
pub const JOURNALD_SOCKET: &str = "/run/systemd/journal/socket";

/// Who gets copies of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// journald, by its native protocol, over the socket at this path: [`JOURNALD_SOCKET`].
    Journald(PathBuf),
    /// A receiver of syslog.
    Syslog(Syslog),
}

/// A receiver of syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Syslog {
    /// A socket of this machine, which gets what `syslog(3)` sends.
    Unix(PathBuf),
    /// A host: RFC 5424 over TCP, each frame with its length (RFC 6587).
    Tcp {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A host: RFC 5424 over UDP (RFC 5426).
    Udp {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journald(path) => write!(f, "journald, {}", path.display()),
            Self::Syslog(Syslog::Unix(path)) => write!(f, "unix:{}", path.display()),
            Self::Syslog(Syslog::Tcp { host, port }) => write!(f, "tcp://{}:{port}", written(host)),
            Self::Syslog(Syslog::Udp { host, port }) => write!(f, "udp://{}:{port}", written(host)),
        }
    }
}

/// As it stands before a port.
fn written(host: &str) -> Cow<'_, str> {
    match host.contains(':') {
        true => Cow::Owned(format!("[{host}]")),
        false => Cow::Borrowed(host),
    }
}

/// Why lines are not exported now. They wait, as far as there is room.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExportTrouble {
    /// Nobody is there to take them.
    #[error(
        "the audit log cannot be exported to {to} ({words}); check that the receiver runs, and [audit] export. The files \
         of the log do not depend on it"
    )]
    Unreachable {
        /// Who should.
        to: String,
        /// What the system said.
        words: String,
    },
    /// Whoever is there takes nothing.
    #[error(
        "{to} does not take the export of the audit log; look why the receiver hangs. The files of the log do not depend \
         on it"
    )]
    Hung {
        /// Who should.
        to: String,
    },
    /// The thread that exports is gone.
    #[error("the export of the audit log is closed")]
    Closed,
}

impl ExportTrouble {
    /// One word, for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Hung { .. } => "hung",
            Self::Closed => "closed",
        }
    }
}

/// How the export is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Why there is none now; none when it works.
    pub trouble: Option<ExportTrouble>,
    /// Lines that were left out of it, since the start.
    pub missed: u64,
}

#[cfg(test)]
mod tests;
