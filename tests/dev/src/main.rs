//! `proplet-dev`: the demo, one component or the daemon with a fake TEE.
//!
//! The production program `proplet` contains no fake. This one is the same library with a fake evidence
//! provider, for people without hardware: it says so in its log, in the evidence and in the results.
#![deny(missing_docs)]

mod daemon;
mod demo;
mod kbs;
mod load;
mod run;
mod tee;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development companion of proplet. Nothing that it runs is confidential.
///
/// Exit codes: 0 done; 1 the task failed or was refused (as a sabotaged demo must be); 2 wrong usage or
/// bad input; 3 something else failed.
#[derive(Parser)]
#[command(name = "proplet-dev", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the whole way: encrypt, attest, decrypt, run, seal, open, verify.
    Demo(demo::Arguments),
    /// Runs one component with a fake TEE: encrypted, attested, its result opened and verified.
    Run(Box<run::Arguments>),
    /// Tries out a key broker with a fake TEE.
    #[command(subcommand)]
    Kbs(kbs::Command),
    /// Runs the daemon with a fake TEE, for outside brokers, registries and key brokers.
    Daemon(daemon::Arguments),
    /// Measures a daemon of its own under load, through mosquitto.
    Load(Box<load::Arguments>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // A second provider in the process would be ambiguous; an error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ended = match cli.command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Run(arguments) => run::run(*arguments).await,
        Command::Kbs(command) => kbs::run(command).await,
        Command::Daemon(arguments) => daemon::run(arguments).await,
        Command::Load(arguments) => load::run(*arguments).await,
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            terminal::complain(error.as_ref());
            ExitCode::from(3)
        }
    }
}
