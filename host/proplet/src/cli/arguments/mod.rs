//! What can be typed: every subcommand, its options, and the words of `--help`.

#[cfg(feature = "data-owner")]
mod audit;
mod exit_codes;
#[cfg(feature = "data-owner")]
mod images;
#[cfg(feature = "data-owner")]
mod kbs;
#[cfg(feature = "data-owner")]
mod snp;
#[cfg(feature = "data-owner")]
mod tdx;
#[cfg(feature = "data-owner")]
mod tools;
#[cfg(feature = "data-owner")]
mod values;
#[cfg(feature = "data-owner")]
mod verifying;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use proplet_hal::tdx::TcbStatus;

use self::exit_codes::EXIT_CODES;
#[cfg(feature = "data-owner")]
pub(super) use self::{audit::*, images::*, kbs::*, snp::*, tdx::*, tools::*, verifying::*};

/// Runs WebAssembly components in confidential VMs; encrypts components; opens and verifies results.
///
/// Without a command it is the daemon.
#[derive(Debug, Parser)]
#[command(name = "proplet", version, after_help = EXIT_CODES, infer_subcommands = false)]
pub(super) struct Arguments {
    /// What to do; the daemon when absent
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub files: SettingsFiles,
    /// Print JSON: results on standard output, an error as one object on standard error
    #[arg(long, global = true)]
    pub json: bool,
}

/// Where the settings are.
#[derive(Debug, Args)]
pub(super) struct SettingsFiles {
    /// The settings, for the daemon and for `run`: a settings document, or an init-data document that
    /// holds it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Credentials that the settings leave out, because init-data is public
    #[arg(long, global = true, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
}

/// One subcommand each.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take tasks from the broker until a signal (the default)
    Daemon,
    /// Run one component here, without a broker
    Run(Run),
    #[cfg(feature = "data-owner")]
    /// Encrypt, push and inspect OCI images of components
    #[command(subcommand)]
    Image(Image),
    #[cfg(feature = "data-owner")]
    /// Administer a key broker: resources, policies, reference values
    #[command(subcommand)]
    Kbs(Box<Kbs>),
    #[cfg(feature = "data-owner")]
    /// Make a key pair that results can be sealed to
    Keygen(Keygen),
    #[cfg(feature = "data-owner")]
    /// Wrap keys of images for `skopeo copy --encryption-key provider:attestation-agent:…`, until a signal
    Keyprovider(Box<KeyProvider>),
    #[cfg(feature = "data-owner")]
    /// Compute what a VM image measures, from its files alone
    Measure(Measure),
    #[cfg(feature = "data-owner")]
    /// Verify a sealed result, then open it
    Open(Open),
    #[cfg(feature = "data-owner")]
    /// Verify evidence or a sealed result, offline, without opening it
    Verify(Verify),
    #[cfg(feature = "data-owner")]
    /// Verify and show audit logs
    #[command(subcommand)]
    Audit(AuditCommand),
    #[cfg(feature = "data-owner")]
    /// Fetch what TDX evidence is verified with
    #[command(subcommand)]
    Collateral(CollateralCommand),
    /// Say which TEE this machine has, whether it attests, and what is missing
    Detect(Detect),
    #[cfg(feature = "data-owner")]
    /// Write the settings document that means what an environment file of upstream's proplet means
    Import(Import),
    #[cfg(feature = "data-owner")]
    /// Make and read what a confidential VM is started with
    #[command(subcommand)]
    InitData(InitDataCommand),
    #[cfg(feature = "data-owner")]
    /// Check policies of components
    #[command(subcommand)]
    Policy(Policy),
}

/// Arguments of `detect`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Detect {
    /// Make one piece of evidence and verify it; fails when it does not verify
    #[arg(long)]
    pub evidence: bool,
    /// Verify under these roots (PEM, as for `verify`) and not under AMD's or Intel's
    #[arg(long, value_name = "FILE", requires = "evidence")]
    pub roots: Option<PathBuf>,
    /// Collateral, as for `verify`: a folder or a file; may be repeated. TDX evidence is not verified without
    #[arg(long, value_name = "FOLDER|FILE", requires = "evidence")]
    pub collateral: Vec<PathBuf>,
    /// Accept TCB statuses of TDX beside UpToDate, as for `verify`
    #[arg(
        long,
        value_name = "STATUS,…",
        value_delimiter = ',',
        requires = "evidence"
    )]
    pub allow_tcb_status: Vec<TcbStatus>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Run {
    /// A WebAssembly file, or the reference of an image. A name that is a file here is that file
    #[arg(value_name = "COMPONENT")]
    pub component: String,
    /// What the component gets: each is one input. Put `--` before one that starts with a hyphen
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// The export to call; by default `run`, or what a command component starts with
    #[arg(long, value_name = "NAME")]
    pub invoke: Option<String>,
    /// A variable of the component's environment; may be repeated
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = variable)]
    pub environment: Vec<(String, String)>,
    /// The image is encrypted: attest, have its key released, seal the result. Needs a TEE
    #[arg(long)]
    pub encrypted: bool,
    /// The key id that the image must have, as `repository/type/tag`
    #[arg(long, value_name = "PATH", requires = "encrypted")]
    pub kbs_resource_path: Option<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }
}
