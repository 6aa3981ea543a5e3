//! What relying parties can type: documents, whom they believe and what they expect.

use std::{fmt, path::PathBuf, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use proplet_types::Digest;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::{
    exit_codes::EXIT_CODES,
    snp::SnpTrusted,
    tdx::{TdxExpected, TdxTrusted},
};

/// Arguments of `open`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Open {
    /// The sealed result, the proplet's results message, or the Manager's JSON of the task; `-` is
    /// standard input
    #[arg(value_name = "RESULT")]
    pub document: PathBuf,
    /// The recipient's private key, as `proplet keygen` writes it: a JWK, or PKCS#8 in PEM
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Where the content goes, instead of standard output. The file must not exist
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub expectations: Expected,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Verify {
    /// An evidence bundle, a sealed result, the proplet's results message, or the Manager's JSON of
    /// the task; `-` is standard input
    #[arg(value_name = "DOCUMENT")]
    pub document: PathBuf,
    /// Show everything as a tree: what the evidence says, what was checked against what, and what was not
    #[arg(long)]
    pub explain: bool,
    /// Write the same as one page of HTML, which needs nothing else. The file must not exist
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub expectations: Expected,
}

/// Whom to believe.
#[derive(Debug, Args)]
pub struct Trust {
    /// Root certificates (PEM): an ARK with its ASK instead of AMD's built-in ones for SNP, a root CA with a
    /// P-256 key instead of Intel's for TDX, or both
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
    /// Judge certificates as of this time instead of now: 2026-01-31, or 2026-01-31T12:00:00Z. For
    /// documents that are older than the certificates live; the report warns of it
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub at: Option<Moment>,
    /// What evidence is held against, in one file (docs/formats.md, section 8): measurements, the lowest firmware,
    /// machines, keys, policies. A TEE that it has no table for is refused. Options take the place of its items
    #[arg(long, value_name = "FILE")]
    pub reference_values: Option<PathBuf>,
    /// Accept evidence of the kind `sample`, which anybody can write. For tests: it proves nothing
    #[arg(long)]
    pub accept_sample: bool,
    /// Accept a VM that its hypervisor may debug, and so read. For tests
    #[arg(long)]
    pub allow_debug: bool,
    #[command(flatten)]
    pub snp: SnpTrusted,
    #[command(flatten)]
    pub tdx: TdxTrusted,
}

/// What is expected. What is not given here is reported as not verified; a measurement has to be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Expectations")]
pub struct Expected {
    /// Digest of the component, `sha256:…`
    #[arg(long, value_name = "DIGEST")]
    pub expect_component: Option<Digest>,
    /// Digest of the image's manifest
    #[arg(long, value_name = "DIGEST")]
    pub expect_image: Option<Digest>,
    /// Digest of the policy in the component
    #[arg(long, value_name = "DIGEST")]
    pub expect_policy: Option<Digest>,
    /// Digest of the host's settings document
    #[arg(long, value_name = "DIGEST")]
    pub expect_settings: Option<Digest>,
    /// A good launch measurement, in hexadecimal; may be repeated, one has to match. Required, because
    /// everything else is the word of the host that it identifies
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub expect_measurement: Vec<Bytes>,
    /// Accept any launch measurement, and with it any host, patched ones included
    #[arg(long, conflicts_with = "expect_measurement")]
    pub any_measurement: bool,
    #[command(flatten)]
    pub tdx: TdxExpected,
    /// The init-data binding (HOST_DATA, MRCONFIGID), in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub expect_init_data: Option<Bytes>,
    /// The init-data document that the VM was started with: its digest is the binding, and the settings in
    /// it are the host's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["expect_init_data", "expect_settings"])]
    pub init_data: Option<PathBuf>,
    /// The task's id
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub expect_task: Option<String>,
    /// The invocation of a latent task that the result is of
    #[arg(
        long,
        value_name = "ID",
        allow_hyphen_values = true,
        conflicts_with = "expect_no_invocation"
    )]
    pub expect_invocation: Option<String>,
    /// The result is of a task that was not invoked
    #[arg(long)]
    pub expect_no_invocation: bool,
    /// The export that ran
    #[arg(long, value_name = "NAME")]
    pub expect_export: Option<String>,
    /// Digest of the task's arguments
    #[arg(long, value_name = "DIGEST")]
    pub expect_arguments: Option<Digest>,
    /// Digest of the task's environment
    #[arg(long, value_name = "DIGEST")]
    pub expect_environment: Option<Digest>,
    /// Thumbprint of a recipient; may be repeated: these and no others
    // One thumbprint in 64 begins with a hyphen.
    #[arg(long, value_name = "THUMBPRINT", allow_hyphen_values = true, value_parser = thumbprint)]
    pub expect_recipient: Vec<String>,
    /// The challenge that evidence was asked for with, in hexadecimal. Not for results: put a nonce
    /// into the inputs for those
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub expect_challenge: Option<Bytes>,
    /// The inputs that the task was started with: a JSON array, or the start message
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// Checks that must have been made, for example `measurement,component`; one that was not makes
    /// the whole fail. `all` names all that apply, and fails for a warning too
    #[arg(long, value_name = "CHECK,…", value_delimiter = ',')]
    pub require: Vec<String>,
}

/// Bytes from hexadecimal text. A type of its own, so that clap does not take it for a list of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

fn hexadecimal(text: &str) -> Result<Bytes, String> {
    match hex::decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(Bytes(bytes)),
        _ => Err("write bytes as pairs of hexadecimal digits".to_owned()),
    }
}

/// RFC 7638 with SHA-256, in base64url.
fn thumbprint(text: &str) -> Result<String, String> {
    match URL_SAFE_NO_PAD.decode(text) {
        Ok(digest) if digest.len() == 32 => Ok(text.to_owned()),
        _ => Err(
            "write the 43 characters of a key's thumbprint, as `proplet keygen` shows it"
                .to_owned(),
        ),
    }
}

/// A point in time that somebody typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(OffsetDateTime);

impl From<Moment> for SystemTime {
    fn from(moment: Moment) -> Self {
        moment.0.into()
    }
}

/// RFC 3339, in UTC.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_offset(UtcOffset::UTC).format(&Rfc3339);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    match OffsetDateTime::parse(&whole, &Rfc3339) {
        Ok(time) if (1970..=9998).contains(&time.year()) => Ok(Moment(time)),
        _ => Err(
            "write a date, 2026-01-31, or a time with its zone, 2026-01-31T12:00:00Z".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A command with these options.
    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        expected: Expected,
    }

    #[test]
    fn names_may_begin_with_a_hyphen() {
        let thumbprint = format!("-{}", "A".repeat(42));
        let parsed = Line::try_parse_from([
            "line",
            "--expect-recipient",
            &thumbprint,
            "--expect-task",
            "-1",
            "--expect-invocation",
            "--2",
            "--any-measurement",
        ]);
        let expected = parsed.unwrap().expected;
        assert_eq!(expected.expect_recipient, [thumbprint]);
        assert_eq!(expected.expect_task.unwrap(), "-1");
        assert_eq!(expected.expect_invocation.unwrap(), "--2");
        assert!(expected.any_measurement);
    }

    #[test]
    fn what_is_no_thumbprint_is_not_compared_with_one() {
        for wrong in [
            "",
            "other",
            "--any-measurement",
            &"A".repeat(44),
            &"/".repeat(43),
        ] {
            let error = thumbprint(wrong).unwrap_err();
            assert!(error.contains("43 characters"), "{wrong}");
        }
    }

    #[test]
    fn moments_are_dates_or_times_with_their_zone() {
        for (text, shown) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "now",
            "2026-02-30",
            "2026-01-31T12:00:00",
            "1969-12-31",
            "31.01.2026",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        let start: SystemTime = moment("1970-01-02").unwrap().into();
        let day = std::time::Duration::from_secs(24 * 3600);
        assert_eq!(start, SystemTime::UNIX_EPOCH + day);
    }
}
