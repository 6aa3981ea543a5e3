//! Programs are written here and started there, but never both at once.
//!
//! A program that is being started has a copy of every file that is open in this process until it runs. A script that
//! was written meanwhile would be busy that long: the kernel runs no file that somebody may write to.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};

/// Held for writing by who starts a program, and by any number of those who write some.
static STARTING: RwLock<()> = RwLock::new(());

/// Writes a file that may be a script.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let _writing = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    fs::write(path, text)
}

/// Copies a file that may be a script.
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    let _writing = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    fs::copy(from, to).unwrap();
}

/// Starts a program whose words are kept for whoever waits for it.
#[track_caller]
pub fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let _starting = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

/// Runs a program, and gives what it says.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    start(command.stdin(Stdio::null()))
        .wait_with_output()
        .unwrap()
}
