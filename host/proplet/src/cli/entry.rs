//! From a command line to its exit code.

use std::{ffi::OsString, time::Duration};

use clap::Parser as _;
use proplet_executor::harden;
use proplet_types::ExitCode;

#[cfg(feature = "data-owner")]
use super::arguments::{AuditCommand, CollateralCommand, Image, InitDataCommand, Policy};
use super::{
    arguments::{Arguments, Command},
    console::{self, Console},
    context::Context,
    daemon, detect,
    error::CliError,
    run,
};
#[cfg(feature = "data-owner")]
use super::{
    audit, collateral, encrypt, image, import, init_data, kbs, keygen, keyprovider, measure, open,
    policy, verify,
};
use crate::output;

/// How long threads that nobody waits for any more may take to end.
const LAST_THREADS: Duration = Duration::from_secs(2);

/// The most threads for what blocks or computes. Each guest that computes has one, and the engine takes up to 1000 guests at
/// once; tokio's own 512 would be taken by them, and the disk, the compiler and name resolution would wait behind them.
const MAX_THREADS: usize = 1000 + 512;

/// The whole program: what `main` does.
///
/// The process is hardened before it reads anything, because every command but a few handles keys.
#[must_use]
pub fn main() -> std::process::ExitCode {
    if let Err(error) = harden::harden_process() {
        output::error(&format!("error: {error}"));
        return ExitCode::Failed.into();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_THREADS)
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(async {
                let mut streams = console::Standard::default();
                main_with(
                    std::env::args_os(),
                    &Context::of_process(),
                    &mut streams.console(),
                )
                .await
            });
            // Whatever had to be done has been waited for. What is left, a request to a TEE that never answers
            // for example, must not keep the process.
            runtime.shutdown_timeout(LAST_THREADS);
            code.into()
        }
        Err(error) => {
            output::error(&format!("error: no threads: {error}"));
            ExitCode::Failed.into()
        }
    }
}

/// Runs one command line, with the program's name first, on the given streams.
pub async fn main_with<I, A>(arguments: I, context: &Context, console: &mut Console<'_>) -> ExitCode
where
    I: IntoIterator<Item = A>,
    A: Into<OsString>,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    // Usage errors happen before it is known how they are to be shown.
    console.json = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json");
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, console),
    };
    // Whoever installed one before wanted that one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match dispatch(arguments, context, console).await {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            if error.exit() == ExitCode::Unavailable && !console.json {
                for notice in context.environment.unused() {
                    console.note(&notice);
                }
            }
            console.fail(&error);
            error.exit()
        }
    }
}

async fn dispatch(
    arguments: Arguments,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let files = &arguments.files;
    match arguments.command.unwrap_or(Command::Daemon) {
        Command::Daemon => daemon::run(files, context, console).await,
        Command::Run(run) => run::run(run, files, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Image(Image::Encrypt(encrypt)) => encrypt::run(*encrypt, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Image(Image::Push(push)) => image::push(push, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Image(Image::Inspect(inspect)) => image::inspect(inspect, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Kbs(kbs) => kbs::run(*kbs, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Keygen(keygen) => keygen::run(&keygen, console),
        #[cfg(feature = "data-owner")]
        Command::Keyprovider(provider) => keyprovider::run(*provider, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Measure(measure) => measure::run(&measure, console),
        #[cfg(feature = "data-owner")]
        Command::Open(open) => open::run(open, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Verify(verify) => verify::run(verify, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Audit(AuditCommand::Verify(verify)) => audit::verify(&verify, console),
        #[cfg(feature = "data-owner")]
        Command::Audit(AuditCommand::Show(show)) => audit::show(&show, console),
        Command::Detect(detect) => detect::run(&detect, files, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Import(import) => import::run(&import, console),
        #[cfg(feature = "data-owner")]
        Command::InitData(InitDataCommand::Make(make)) => init_data::make(&make, console),
        #[cfg(feature = "data-owner")]
        Command::InitData(InitDataCommand::Show(show)) => init_data::show(&show, console),
        #[cfg(feature = "data-owner")]
        Command::Collateral(CollateralCommand::Fetch(fetch)) => {
            collateral::fetch(fetch, context, console).await
        }
        #[cfg(feature = "data-owner")]
        Command::Policy(Policy::Check(check)) => policy::check(&check, console),
    }
}

/// `--help` and `--version` come this way too, and go to standard output with success.
fn usage(error: &clap::Error, console: &mut Console<'_>) -> ExitCode {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return match console.text(&text) {
            Ok(()) => ExitCode::Done,
            Err(_) => ExitCode::Failed,
        };
    }
    if console.json {
        let line = text.lines().next().unwrap_or_default();
        let words = line.strip_prefix("error: ").unwrap_or(line);
        console.fail(&CliError::usage(words));
    } else {
        console.note(text.trim_end());
    }
    ExitCode::Usage
}
