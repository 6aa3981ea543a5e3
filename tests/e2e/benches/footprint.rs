//! How much memory an idle daemon takes, and how big the program is.
//!
//! The `proplet` program is started with an embedded broker, and its memory is read
//! from `/proc` once it has announced itself and sent two heartbeats. It runs no task. A machine with a
//! TEE shows a little more.
//!
//! The program is the one that `PROPLET_BIN` names, else `proplet` in the folder of this profile:
//! `cargo build --release` first. Where there is none, the daemon for tests stands in for it and this says so:
//! that shows that the measurement works, and its figures are too large.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use proplet_lab::{Addresses, CHANNEL, TENANT};
use proplet_testkit::broker::{Manager, TestBroker};

/// A child that is killed when the measurement ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended before; nobody is left to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program to measure, and what it takes before the settings file.
fn program() -> (PathBuf, &'static [&'static str]) {
    let own = std::env::current_exe().unwrap();
    // `<target>/release/deps/footprint-…`
    let beside = own.ancestors().nth(2).unwrap().join("proplet");
    if let Some(given) = std::env::var_os("PROPLET_BIN") {
        return (given.into(), &["--config"]);
    }
    if beside.is_file() {
        return (beside, &["--config"]);
    }
    println!("THIS IS NOT proplet BUT A PROGRAM FOR TESTS: cargo build --release first");
    (env!("CARGO_BIN_EXE_lab-daemon").into(), &[])
}

/// Size of the file without symbols, where there is a `strip`.
fn stripped_size(program: &Path, folder: &Path) -> Option<u64> {
    let stripped = folder.join("stripped");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(program)
        .status();
    status.ok()?.success().then_some(())?;
    Some(stripped.metadata().unwrap().len())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[tokio::main]
async fn main() {
    // What criterion's benches take on the command line is taken here too, and ignored.
    let (program, arguments) = program();
    let folder = tempfile::tempdir().unwrap();
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, TENANT, CHANNEL).await.unwrap();
    let addresses = Addresses {
        broker: broker.url(),
        broker_ca: None,
        registry: "127.0.0.1:1".to_owned(),
        registry_auth: None,
        key_broker: "http://127.0.0.1:1".to_owned(),
        key_broker_timeout: Addresses::KEY_BROKER_TIMEOUT,
    };
    let settings = addresses
        .settings("")
        .replace("[proplet]\n", "[proplet]\nheartbeat_seconds = 1\n");
    let config = folder.path().join("proplet.toml");
    std::fs::write(&config, settings).unwrap();
    let child = Command::new(&program)
        .args(arguments)
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    manager.messages("control/proplet/alive", 2).await.unwrap();

    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    println!("Idle daemon: {}", program.display());
    for name in ["VmRSS", "RssAnon", "RssFile", "VmHWM", "Threads"] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        println!("  {line}");
    }
    let size = program.metadata().unwrap().len();
    println!("Size of the program:  {:.1} MiB", mebibytes(size));
    if let Some(size) = stripped_size(&program, folder.path()) {
        println!("Size when stripped:   {:.1} MiB", mebibytes(size));
    }
}
