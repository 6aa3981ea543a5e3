//! The daemon on a fake TEE, as a process of its own: `lab-daemon SETTINGS [log-at-once]`.
//!
//! With the second word each line of the log is with its reader before anything follows it, for those who kill the process
//! and go by its last lines.
//!
//! Tests that look at a process from outside (its files, its children, its log) need one that does
//! nothing but what the daemon does. This is the production library with a fake evidence provider; it
//! builds no guests and starts no other service. Once the daemon is set up, it says on standard output
//! whether the kernel would dump it, which nobody else can ask.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use proplet_daemon::log::{self, Format};
use proplet_daemon::{Daemon, termination};
use proplet_executor::Host;
use proplet_executor::harden::SwapRule;
use proplet_hal::InitData;
use proplet_settings::Settings;
use proplet_settings::environment::Environment;
use proplet_testkit::tee::FakeSnp;
use rustix::process::{DumpableBehavior, dumpable_behavior};
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("lab-daemon SETTINGS")?);
    let settings = Settings::load(Some(&path), None, &Environment::default())?;
    let _log = match std::env::args_os().nth(2) {
        None => Some(log::start(&settings.log_level, Format::Text)?),
        Some(word) if word == "log-at-once" => {
            let reader = log::Reader::Other;
            log::subscriber(&settings.log_level, Format::Text, reader, std::io::stderr)?.init();
            None
        }
        Some(_) => return Err("lab-daemon SETTINGS [log-at-once]".into()),
    };
    let provider = FakeSnp::builder()
        .host_data(
            settings
                .init_data
                .as_ref()
                .map(InitData::host_data)
                .unwrap_or_default(),
        )
        .build();
    let mut host = Host::new(Arc::new(settings), Some(Arc::new(provider)));
    host.swap_rule = SwapRule::Warn;
    let daemon = Daemon::new(host)?;
    let dumpable = dumpable_behavior()? != DumpableBehavior::NotDumpable;
    writeln!(std::io::stdout(), "dumpable: {dumpable}")?;
    daemon.run(termination()?).await?;
    Ok(())
}
