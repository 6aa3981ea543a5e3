//! How the kernel was started, and what it must not do any more.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proplet_hal::Flavour;
use rustix::system::sethostname;
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::InitError;
use crate::console::say;

/// The name of the machine.
const NAME: &[u8] = b"proplet";
/// What must hold before the daemon starts, below `/proc/sys`.
const CLOSED: &[(&str, &str)] = &[
    ("kernel/modules_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/sysrq", "0"),
    ("kernel/core_pattern", ""),
    ("fs/suid_dumpable", "0"),
];
/// What should hold. A kernel that lacks one of these has less to switch off.
const HARDENED: &[(&str, &str)] = &[
    ("kernel/core_pipe_limit", "0"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/yama/ptrace_scope", "3"),
    ("user/max_user_namespaces", "0"),
    ("vm/unprivileged_userfaultfd", "0"),
];

/// Compares the command line in force with the image's.
pub(crate) fn check_command_line(in_force: &Path, of_image: &Path) -> Result<(), InitError> {
    let read = |path: &Path| fs::read(path).map_err(InitError::file(path));
    let (in_force, of_image) = (read(in_force)?, read(of_image)?);
    if in_force.trim_ascii_end() == of_image.trim_ascii_end() {
        Ok(())
    } else {
        Err(InitError::CommandLine)
    }
}

/// Takes away what only the start of the machine needs: further modules, another kernel, the magic key, core dumps. In
/// the debug flavour the kernel's log and other processes can be looked at.
pub(crate) fn close(flavour: Flavour) -> Result<(), InitError> {
    let set = |name: &str, value: &str| {
        let path = Path::new("/proc/sys").join(name);
        // A value without a line end is none to the kernel when it is empty.
        fs::write(&path, format!("{value}\n")).map_err(|error| InitError::Closing { path, error })
    };
    let hardened = match flavour {
        Flavour::Sealed => HARDENED,
        Flavour::Debug => &[],
    };
    for (name, value) in hardened {
        if let Err(error) = set(name, value) {
            say(&format!("warning: {error}"));
        }
    }
    CLOSED.iter().try_for_each(|(name, value)| set(name, value))
}

/// Gives the machine a name. It is the same for all: which one this is, its settings say, and nobody asks the name.
pub(crate) fn name() {
    if let Err(error) = sethostname(NAME) {
        say(&format!("warning: the machine has no name: {error}"));
    }
}

/// Sets a clock that is before the image was made to that time, and says so. The host sets the clock; it
/// is believed for nothing that decides about secrets, but certificates from before the image should not come to
/// life again.
pub(crate) fn floor_clock(date: &Path) -> Result<Option<String>, InitError> {
    let text = fs::read_to_string(date).map_err(InitError::file(date))?;
    let Some(made) = floor(SystemTime::now(), &text) else {
        return Ok(None);
    };
    let to = Timespec {
        tv_sec: i64::try_from(made.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    clock_settime(ClockId::Realtime, to)
        .map_err(|error| InitError::file(Path::new("the clock"))(error.into()))?;
    Ok(Some(
        "warning: the clock was before the image was made, and is set to that".to_owned(),
    ))
}

/// The time to set, when `now` is before it.
fn floor(now: SystemTime, made: &str) -> Option<Duration> {
    let made = Duration::from_secs(made.trim().parse().ok()?);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    (now < made).then_some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_command_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (in_force, of_image) = (folder.path().join("in-force"), folder.path().join("image"));
        fs::write(&of_image, "quiet panic=-1").unwrap();
        let check = |text: &str| {
            fs::write(&in_force, text).unwrap();
            check_command_line(&in_force, &of_image)
        };
        check("quiet panic=-1\n").unwrap();
        for other in [
            "quiet panic=-1 init=/bin/sh\n",
            "quiet\n",
            "",
            " quiet panic=-1\n",
        ] {
            assert!(
                matches!(check(other), Err(InitError::CommandLine)),
                "{other:?}"
            );
        }
        assert!(check_command_line(&folder.path().join("none"), &of_image).is_err());
    }

    #[test]
    fn the_clock_goes_forward_only() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(floor(at(99), "100\n"), Some(Duration::from_secs(100)));
        assert_eq!(floor(at(100), "100\n"), None);
        assert_eq!(floor(at(101), "100\n"), None);
        assert_eq!(floor(at(0), "x"), None);
    }
}
