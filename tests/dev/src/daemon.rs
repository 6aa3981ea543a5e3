//! The daemon with a fake TEE.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use proplet_daemon::log::{self, Format};
use proplet_daemon::{Daemon, report_tee, termination};
use proplet_executor::Host;
use proplet_executor::harden::SwapRule;
use proplet_hal::detection::Detection;
use proplet_settings::Settings;
use proplet_settings::environment::Environment;
use tracing::warn;

use crate::tee::Fake;

/// Arguments of `daemon`.
#[derive(Args)]
pub struct Arguments {
    /// The settings document.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The credentials document, for settings that hold none.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// The fake to attest with.
    #[arg(long, value_enum, default_value = "fake-snp")]
    tee: Fake,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::load(
        Some(&arguments.config),
        arguments.credentials.as_deref(),
        &Environment::of_process(),
    )?;
    let _log = log::start(&settings.log_level, Format::Text)?;
    let provider = arguments.tee.provider(settings.init_data.as_ref());
    let detection = Detection::probe(Path::new("/"));
    report_tee(&detection, Some(provider.as_ref()));
    warn!(
        "DEVELOPMENT ONLY: {} is a fake; no secret is safe here",
        provider.attester()
    );
    let mut host = Host::new(Arc::new(settings), Some(provider));
    host.detected = detection.tee();
    host.swap_rule = SwapRule::Warn;
    Daemon::new(host)?.run(termination()?).await?;
    Ok(ExitCode::SUCCESS)
}
