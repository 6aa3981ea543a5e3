//! The only way in which this machine ends.

use std::process::ExitCode;

use rustix::system::{RebootCommand, reboot};

use crate::console::say;

/// Switches the machine off. A machine that cannot be switched off is halted; the first process does not end
/// before, for the kernel would take that for a crash.
pub(crate) fn off() -> ExitCode {
    rustix::fs::sync();
    for command in [RebootCommand::PowerOff, RebootCommand::Halt] {
        if let Err(error) = reboot(command) {
            say(&format!("{command:?}: {error}"));
        }
    }
    ExitCode::FAILURE
}
