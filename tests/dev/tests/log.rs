//! The log of the daemon with a fake TEE, as a file or a pipe gets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

/// A pipe is no terminal, so nothing in it is for one.
#[test]
fn there_are_no_colours_in_a_pipe() {
    let document = tempfile::NamedTempFile::new().unwrap();
    // Nobody listens on port 1. The daemon says so and tries again, until the test has seen enough.
    let text = "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"e\"\napi_key = \"k\"\n\
                [mqtt]\naddress = \"mqtt://127.0.0.1:1\"";
    std::fs::write(document.path(), text).unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_proplet-dev"))
        .args(["daemon", "--config"])
        .arg(document.path())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    for line in BufReader::new(daemon.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        log.push_str(&line);
        if line.contains("Starting PropletService") {
            break;
        }
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(log.contains("Starting PropletService"), "{log}");
    assert!(!log.contains('\x1b'), "{log:?}");
}
