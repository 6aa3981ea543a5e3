//! The daemon as a child, and the signals and buttons that end the machine.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::InitError;
use crate::console::say;
use crate::documents::Documents;

/// How long the daemon has to end its tasks.
const PATIENCE: Duration = Duration::from_secs(20);
/// A key was pressed: the button's event, and its number.
const KEY_EVENT: u16 = 1;
const POWER_KEY: u16 = 116;
/// Length of `struct input_event`.
const EVENT: usize = 24;

/// Starts the daemon and stays until it has ended.
pub(crate) async fn daemon(documents: &Documents, run: &Path) -> Result<(), InitError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(InitError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(InitError::Start)?;
    let mut children = signal(SignalKind::child()).map_err(InitError::Start)?;
    let mut button = power_button();
    let child = start(documents, run).map_err(InitError::Start)?;
    let mut deadline = None;
    loop {
        let late = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            _ = children.recv() => {
                match reap(child) {
                    Some(_) if deadline.is_some() => return Ok(()),
                    Some(status) => return Err(InitError::Ended(words(status))),
                    None => continue,
                }
            }
            () = late => {
                say("the daemon did not end in time");
                let _ = kill_process(child, Signal::KILL);
                return Ok(());
            }
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "ctrl-alt-del",
            Some(()) = button.recv() => "the power button",
        };
        if deadline.is_none() {
            say(&format!("stopping: {why}"));
            deadline = Some(Instant::now() + PATIENCE);
            let _ = kill_process(child, Signal::TERM);
        }
    }
}

/// Stays until somebody ends the machine: in the debug flavour, where there is something to look into.
pub(crate) async fn stay() -> Result<(), InitError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(InitError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(InitError::Start)?;
    let mut children = signal(SignalKind::child()).map_err(InitError::Start)?;
    let mut button = power_button();
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        tokio::select! {
            _ = children.recv() => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            Some(()) = button.recv() => return Ok(()),
        }
    }
}

/// The same program under its usual name, with a new and short environment.
fn start(documents: &Documents, run: &Path) -> std::io::Result<Pid> {
    let child = Command::new("/proc/self/exe")
        .args(documents.arguments(run))
        .current_dir(run)
        .env_clear()
        .envs(documents.operator.environment())
        .stdin(Stdio::null())
        .spawn()?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// Takes the status of every child that has ended: orphans of all kinds become the first process's. Gives that of
/// the daemon.
fn reap(daemon: Pid) -> Option<ExitStatus> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == daemon {
            ended = Some(ExitStatus::from_raw(status.as_raw()));
        }
    }
    ended
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for no reason that is known".to_owned(),
    }
}

/// Presses of the power buttons. A machine without one has a channel that is closed.
fn power_button() -> mpsc::Receiver<()> {
    let (pressed, presses) = mpsc::channel(1);
    for device in buttons(Path::new("/sys/class/input"), Path::new("/dev/input")) {
        let pressed = pressed.clone();
        let watch = move || {
            let Ok(mut events) = fs::File::open(device) else {
                return;
            };
            let mut event = [0; EVENT];
            while events.read_exact(&mut event).is_ok() {
                if is_power_key(&event) && pressed.blocking_send(()).is_err() {
                    return;
                }
            }
        };
        // Without a thread there is no button; signals still end the machine.
        let _ = std::thread::Builder::new()
            .name("button".to_owned())
            .spawn(watch);
    }
    presses
}

/// The devices of power buttons.
fn buttons(classes: &Path, devices: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(classes).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("event"))
        .filter(|name| {
            fs::read_to_string(classes.join(name).join("device/name"))
                .is_ok_and(|found| found.trim() == "Power Button")
        })
        .map(|name| devices.join(name))
        .collect()
}

/// `struct input_event`: the time in 16 bytes, then kind, number and value.
fn is_power_key(event: &[u8; EVENT]) -> bool {
    let [.., k0, k1, c0, c1, v0, v1, v2, v3] = *event;
    u16::from_ne_bytes([k0, k1]) == KEY_EVENT
        && u16::from_ne_bytes([c0, c1]) == POWER_KEY
        && i32::from_ne_bytes([v0, v1, v2, v3]) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_of_the_power_button_is_one() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [0; EVENT];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..24].copy_from_slice(&value.to_ne_bytes());
            is_power_key(&event)
        };
        assert!(event(1, 116, 1));
        assert!(!event(1, 116, 0), "its release");
        assert!(!event(1, 30, 1) && !event(0, 116, 1));
    }

    #[test]
    fn buttons_are_found_by_name() {
        let classes = tempfile::tempdir().unwrap();
        for (event, name) in [
            ("event0", "Power Button\n"),
            ("event1", "AT keyboard\n"),
            ("mouse0", "Power Button\n"),
        ] {
            let device = classes.path().join(event).join("device");
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("name"), name).unwrap();
        }
        assert_eq!(
            buttons(classes.path(), Path::new("/dev/input")),
            [Path::new("/dev/input/event0")]
        );
        assert!(buttons(Path::new("/nowhere"), Path::new("/dev")).is_empty());
    }

    #[test]
    fn the_end_of_the_daemon_is_told() {
        assert_eq!(words(ExitStatus::from_raw(0x0200)), "exit code 2");
        assert_eq!(words(ExitStatus::from_raw(9)), "signal 9");
    }
}
