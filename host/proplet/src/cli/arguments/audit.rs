//! What can be typed about audit logs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use proplet_types::Digest;

use super::exit_codes::EXIT_CODES;

/// `proplet audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Verify that nothing was taken out of an audit log, offline and without any key
    Verify(AuditVerify),
    /// Show the entries of an audit log, and with a recipient's key what is sealed in them
    Show(AuditShow),
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct AuditVerify {
    /// Files of the log, or folders with them; `-` is standard input. They are read in the order of the numbers in their
    /// names
    #[arg(value_name = "FILE|FOLDER", required = true)]
    pub logs: Vec<PathBuf>,
    /// They are what journald or a syslog receiver kept of an export: whatever stands before each line of the log is left
    /// away, and lines of others are passed over and counted
    #[arg(long)]
    pub exported: bool,
    /// With `--exported`: lines of all other boots than this are passed over too; may be repeated
    #[arg(long, value_name = "BOOT", requires = "exported")]
    pub boot: Vec<String>,
    /// A sealed result, as `verify` takes it, or its receipt: its heads must be in the log; may be repeated
    #[arg(long, value_name = "FILE")]
    pub receipt: Vec<PathBuf>,
    /// The hash of a line, `sha256:…`, that must be in the log; may be repeated
    #[arg(long, value_name = "HEAD")]
    pub head: Vec<Digest>,
}

/// Arguments of `audit show`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct AuditShow {
    /// Files of the log, or folders with them; `-` is standard input
    #[arg(value_name = "FILE|FOLDER", required = true)]
    pub logs: Vec<PathBuf>,
    /// They are what journald or a syslog receiver kept of an export
    #[arg(long)]
    pub exported: bool,
    /// With `--exported`: lines of all other boots than this are passed over; may be repeated
    #[arg(long, value_name = "BOOT", requires = "exported")]
    pub boot: Vec<String>,
    /// The private key of one of `[audit] recipients`, to see addresses of secrets and who reads results
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Entries of this task only
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub task: Option<String>,
    /// Entries of this kind only, `secret` for example; may be repeated
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
}
