//! The ways into the debug flavour of the image.
//!
//! A shell on the console, and ssh on port 2222 for the keys in the operator's document. Both are programs of that
//! image's archive, so the sealed flavour has neither, whatever its documents say. Whoever starts the VM chooses these
//! keys: the operator's document is not measured.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use proplet_hal::Flavour;
use rustix::fs::OFlags;

use crate::console::say;
use crate::mounts;

/// Shell and everyday programs.
const BUSYBOX: &str = "/bin/busybox";
/// The ssh server.
const DROPBEAR: &str = "/usr/sbin/dropbear";
/// Where it listens, beside nothing else.
const SSH_PORT: &str = "2222";
/// The file of the operator's document with the keys of those who may log in.
const KEYS: &str = "authorized_keys";
/// The console, as the image's command line names it.
const CONSOLE: &str = "/dev/ttyS0";
/// A shell that ends is started again.
const SHELL: &str = "while :; do /bin/busybox setsid -c /bin/sh -l; /bin/busybox sleep 1; done";
/// What nobody overlooks.
const BANNER: &[&str] = &[
    "###################################################################",
    "##  DEBUG FLAVOUR: a shell on this console, ssh on port 2222.    ##",
    "##  Whoever started this VM can read and change everything in    ##",
    "##  it. Encrypted tasks are refused unless settings allow them.  ##",
    "###################################################################",
];

/// Says what this is, where it is the debug flavour.
pub(crate) fn announce(flavour: Flavour) {
    if flavour.is_debug() {
        BANNER.iter().for_each(|line| say(line));
    }
}

/// Starts a shell on the console, where this is the debug flavour.
pub(crate) fn shell(flavour: Flavour) {
    if flavour.is_sealed() {
        return;
    }
    if let Err(error) = mounts::terminals().and_then(|()| start_shell()) {
        say(&format!("warning: no shell on the console: {error}"));
    }
}

/// Starts the ssh server for the keys in a folder, where this is the debug flavour.
pub(crate) fn ssh(flavour: Flavour, operator: &Path) {
    if flavour.is_sealed() {
        return;
    }
    if !operator.join(KEYS).is_file() {
        say("no ssh: the operator's document has no file `authorized_keys`");
        return;
    }
    match start_ssh(operator) {
        Ok(()) => say("ssh is started on port 2222, for root and the operator's keys"),
        Err(error) => say(&format!("warning: no ssh: {error}")),
    }
}

fn start_shell() -> io::Result<()> {
    let installed = Command::new(BUSYBOX)
        .args(["--install", "-s", "/bin"])
        .status()?;
    if !installed.success() {
        say("warning: programs are called as `busybox NAME` only");
    }
    // This process leads a session and must not get the terminal itself.
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open(CONSOLE)?;
    command(BUSYBOX)
        .args(["sh", "-c", SHELL])
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal)
        .spawn()
        .map(drop)
}

fn start_ssh(operator: &Path) -> io::Result<()> {
    fs::create_dir_all("/etc/dropbear")?;
    // The kernel lets everybody write in the root of its archive, and the server believes no keys below that.
    fs::set_permissions("/", fs::Permissions::from_mode(0o755))?;
    command(DROPBEAR)
        // In the foreground, its log on the console, a host key of this boot, no passwords, these keys.
        .args(["-F", "-E", "-R", "-s", "-p", SSH_PORT, "-D"])
        .arg(operator)
        .args(["-b", "/etc/proplet/banner", "-P", "/run/dropbear.pid"])
        .stdin(Stdio::null())
        .spawn()
        .map(drop)
}

/// A program with a short environment. It becomes a child that nobody waits for but the one who reaps all.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir("/root")
        .env_clear()
        .env("HOME", "/root")
        .env("PATH", "/bin:/usr/sbin")
        .env("TERM", "vt100");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test runs as a user who could start neither, and a sealed image must not even try.
    #[test]
    fn the_sealed_flavour_starts_nothing() {
        let operator = tempfile::tempdir().unwrap();
        fs::write(operator.path().join(KEYS), "ssh-ed25519 AAAA").unwrap();
        announce(Flavour::Sealed);
        shell(Flavour::Sealed);
        ssh(Flavour::Sealed, operator.path());
        assert!(!Path::new("/run/dropbear.pid").exists());
    }

    #[test]
    fn the_banner_is_of_one_width_and_says_what_this_is() {
        let widths: Vec<_> = BANNER.iter().map(|line| line.len()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
        assert!(BANNER.concat().contains("DEBUG FLAVOUR"));
    }
}
