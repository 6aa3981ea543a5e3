//! The command line.
//!
//! One program for four people: an operator (`daemon`, `detect`), a guest author (`run`), a data owner
//! (`keygen`, `image encrypt`, `kbs`, `open`) and a relying party (`verify`). The last two need neither a TEE nor
//! a service: what they type runs on their own machine, and that is why it can be believed.
//!
//! Three things hold for every command. Results go to standard output and everything else to standard
//! error, so that a pipe gets the result alone. The exit code says what kind of end it was
//! ([`ExitCode`]), so that a script need not read words. And private keys, keys of images and opened
//! results go to new files that only their owner may read; none is ever overwritten.
//!
//! The commands of data owners and relying parties are there with the feature `data-owner`, which is on
//! by default. A daemon that is measured has no use for them: without the feature it cannot make keys, write
//! images or open results.
//!
//! Text from elsewhere (a guest's, a registry's, a receipt's) is shown without control characters: a
//! terminal obeys those.

mod arguments;
#[cfg(feature = "data-owner")]
mod collateral;
#[cfg(feature = "data-owner")]
mod component;
#[cfg_attr(
    not(feature = "data-owner"),
    expect(dead_code, reason = "for the tools")
)]
mod console;
mod daemon;
mod detect;
#[cfg(feature = "data-owner")]
mod document;
#[cfg(feature = "data-owner")]
mod encrypt;
#[cfg_attr(
    not(feature = "data-owner"),
    expect(dead_code, reason = "for the tools")
)]
mod error;
#[cfg(feature = "data-owner")]
mod explain;
#[cfg_attr(
    not(feature = "data-owner"),
    expect(dead_code, reason = "for the tools")
)]
mod files;
#[cfg(feature = "data-owner")]
mod helper;
#[cfg(feature = "data-owner")]
mod image;
#[cfg(feature = "data-owner")]
mod init_data;
#[cfg(feature = "data-owner")]
mod kbs;
#[cfg(feature = "data-owner")]
mod key_broker;
#[cfg(feature = "data-owner")]
mod keygen;
#[cfg(feature = "data-owner")]
mod open;
#[cfg(feature = "data-owner")]
mod policy;
#[cfg(feature = "data-owner")]
mod reference_values;
#[cfg(feature = "data-owner")]
mod registry;
#[cfg(feature = "data-owner")]
mod relying;
#[cfg(feature = "data-owner")]
mod report;
mod run;
#[cfg(feature = "data-owner")]
mod snp;
#[cfg(feature = "data-owner")]
mod tdx;
#[cfg(feature = "data-owner")]
mod verify;

use std::{ffi::OsString, sync::Arc, time::Duration};

use clap::Parser as _;
use proplet_executor::harden;
use proplet_settings::environment::Environment;
use proplet_types::{Clock, Code, ExitCode, SystemClock};

#[cfg(feature = "data-owner")]
use self::arguments::{CollateralCommand, Image, InitDataCommand, Policy};
pub use self::console::Console;
use self::{
    arguments::{Arguments, Command},
    error::CliError,
};
use crate::output;

/// How long threads that nobody waits for any more may take to end.
const LAST_THREADS: Duration = Duration::from_secs(2);

/// What a command may use of the world besides the files that it is told of.
pub struct Context {
    /// Decides about the validity of certificates.
    pub clock: Arc<dyn Clock>,
    /// The variables of the process, for settings.
    pub environment: Environment,
    /// Where programs are looked for (`PATH`): credential helpers, of commands that people type.
    pub program_path: Option<OsString>,
}

impl Context {
    /// This process and this machine's clock.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            environment: Environment::of_process(),
            program_path: std::env::var_os("PATH"),
        }
    }
}

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
        Command::Open(open) => open::run(open, context, console).await,
        #[cfg(feature = "data-owner")]
        Command::Verify(verify) => verify::run(verify, context, console).await,
        Command::Detect(detect) => detect::run(&detect, files, context, console).await,
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

/// Runs what takes long, or waits for a disk, on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(CliError::new(
            Code::Internal,
            format!("a thread failed: {error}"),
        )),
    }
}
