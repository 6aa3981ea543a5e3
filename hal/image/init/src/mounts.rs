//! The kernel's own file systems, and memory for files of this boot.

use std::os::linux::fs::MetadataExt as _;
use std::path::Path;
use std::{fs, io};

use sys_mount::{Mount as Mounted, MountFlags};

use crate::InitError;

/// File system, place, whether programs may run from it or devices be on it, options.
type Mount = (&'static str, &'static str, MountFlags, &'static str);

const PLAIN: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

const KERNEL: &[Mount] = &[
    ("proc", "/proc", PLAIN, ""),
    ("sysfs", "/sys", PLAIN, ""),
    ("devtmpfs", "/dev", DEVICES, "mode=0755"),
    ("tmpfs", "/run", PLAIN, "mode=0755,size=64m"),
    ("tmpfs", "/tmp", PLAIN, "mode=1777,size=64m"),
];
const OF_MODULES: &[Mount] = &[
    ("configfs", "/sys/kernel/config", PLAIN, ""),
    ("securityfs", "/sys/kernel/security", PLAIN, ""),
];

/// What every program needs.
pub(crate) fn kernel() -> Result<(), InitError> {
    mount_all(KERNEL)
}

/// What needs a module.
pub(crate) fn of_modules() -> Result<(), InitError> {
    mount_all(OF_MODULES)
}

/// What a terminal needs, in the debug flavour.
pub(crate) fn terminals() -> io::Result<()> {
    let flags = MountFlags::NOSUID.union(MountFlags::NOEXEC);
    mount_one("devpts", "/dev/pts", flags, "mode=0620,ptmxmode=0666")
}

fn mount_all(mounts: &[Mount]) -> Result<(), InitError> {
    for (kind, place, flags, options) in mounts {
        mount_one(kind, place, *flags, options)
            .map_err(|error| InitError::Mount { place, error })?;
    }
    Ok(())
}

fn mount_one(kind: &str, place: &str, flags: MountFlags, options: &str) -> io::Result<()> {
    let _ = fs::create_dir_all(place);
    // What is mounted is not covered: what lies below may be in use.
    if is_mount_point(Path::new(place)) {
        return Ok(());
    }
    Mounted::builder()
        .fstype(kind)
        .flags(flags)
        .data(options)
        .mount(kind, place)
        .map(drop)
}

/// Whether another file system begins here.
fn is_mount_point(place: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.st_dev()).ok();
    place
        .parent()
        .is_some_and(|parent| device(place).is_some() && device(place) != device(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_recognised() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/etc/ssl")));
        assert!(!is_mount_point(Path::new("/nowhere")));
        assert!(!is_mount_point(Path::new("/")));
    }
}
