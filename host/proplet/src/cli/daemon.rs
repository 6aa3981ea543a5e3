//! `proplet` without a command: the daemon.

use proplet_daemon::{
    Daemon, DaemonError, Supervisor,
    log::{self, Format, Log},
    report_tee, termination,
};
use proplet_executor::Host;
use proplet_settings::Settings;
use proplet_types::Code;

use super::{
    arguments::SettingsFiles, blocking::blocking, console::Console, context::Context,
    error::CliError,
};
use crate::tee;

/// Runs until SIGTERM or SIGINT.
pub(super) async fn run(
    files: &SettingsFiles,
    context: &Context,
    console: &Console<'_>,
) -> Result<(), CliError> {
    let settings = Settings::load(
        files.config.as_deref(),
        files.credentials.as_deref(),
        &context.environment,
    )?;
    let _log = start_log(&settings.log_level, console)?;
    let attestation = settings.attestation.clone();
    let found = blocking(move || Ok(tee::find(&attestation)?)).await?;
    let provider = found.provider();
    report_tee(&found.detection, provider.as_deref());
    found.choose().await;
    let mut host = Host::new(settings.into(), provider);
    host.detected = found.detection.tee();
    host.clock = context.clock.clone();
    let supervisor = Supervisor::of(&context.environment);
    let daemon = blocking(move || Ok(Daemon::new(host)?)).await?;
    let shutdown = termination()
        .map_err(|error| CliError::new(Code::HostFailed, format!("no signals: {error}")))?;
    Ok(daemon.with_supervisor(supervisor).run(shutdown).await?)
}

/// Starts the log, on standard error: text, or one JSON object per line.
pub(super) fn start_log(level: &str, console: &Console<'_>) -> Result<Log, CliError> {
    let format = if console.json {
        Format::Json
    } else {
        Format::Text
    };
    log::start(level, format).map_err(|error| CliError::usage(error.to_string()))
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
