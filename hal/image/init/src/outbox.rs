//! The disk of the outbox, the only one that is written to.
//!
//! It has the serial number `outbox`, and the settings name it by a link that is made here, since which name the kernel
//! gives a disk is up to the host. Its content is nobody's but the daemon's: nothing is mounted from it.
//!
//! Settings that name it and a host that attaches none make a VM that refuses every task, and says why. To go on without it
//! would let the host decide that accepted tasks may be forgotten.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use proplet_hal::init_data::InitData;

use crate::console::say;
use crate::documents::SETTINGS;
use crate::{InitError, disk};

/// Where settings find the disk, as `[outbox] path`.
pub const OUTBOX_DEVICE: &str = "/dev/proplet/outbox";
/// The serial number of the disk.
const SERIAL: &str = "outbox";

/// Links the disk, and says what there is of it.
pub(crate) fn link(settings: &InitData) -> Result<(), InitError> {
    let is_named = is_named(settings);
    // The driver has shown another disk already. This one is worth some patience, since much hangs on it.
    let found = disk::find(SERIAL, is_named);
    if let Some(disk) = &found {
        let link = Path::new(OUTBOX_DEVICE);
        make(link, disk).map_err(InitError::file(link))?;
    }
    if let Some(line) = line(is_named, found) {
        say(&line);
    }
    Ok(())
}

/// Whether the settings say that the outbox lies there. What else is wrong with them, the daemon says.
fn is_named(settings: &InitData) -> bool {
    let path = || {
        let settings: toml::Table = settings.file(SETTINGS)?.parse().ok()?;
        let path = settings.get("outbox")?.get("path")?.as_str()?;
        Some(path == OUTBOX_DEVICE)
    };
    path().unwrap_or_default()
}

fn make(link: &Path, disk: &Path) -> std::io::Result<()> {
    if let Some(folder) = link.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    symlink(disk, link)
}

fn line(is_named: bool, found: Option<PathBuf>) -> Option<String> {
    match (is_named, found) {
        (true, Some(disk)) => Some(format!("the outbox is on {}", disk.display())),
        (true, None) => Some(format!(
            "outbox-unavailable: the settings name {OUTBOX_DEVICE}, and there is no disk with the serial number \
             `{SERIAL}`: every task will be refused; attach one as a virtio-blk device that can be written"
        )),
        (false, Some(disk)) => Some(format!(
            "warning: {} has the serial number `{SERIAL}`, and the settings do not name {OUTBOX_DEVICE} as [outbox] \
             path: it is not used",
            disk.display()
        )),
        (false, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use proplet_hal::init_data::DigestAlgorithm;

    use super::*;

    fn settings(text: &str) -> InitData {
        InitData::holding(DigestAlgorithm::Sha256, SETTINGS, text).unwrap()
    }

    #[test]
    fn settings_name_the_disk_in_one_way() {
        let named = format!("[outbox]\npath = \"{OUTBOX_DEVICE}\"\n");
        assert!(is_named(&settings(&named)));
        for text in [
            "",
            "outbox = 1",
            "[outbox]\n",
            "[outbox]\npath = 1\n",
            "[outbox]\npath = \"/run/proplet/outbox\"\n",
            "[outbox\n",
        ] {
            assert!(!is_named(&settings(text)), "{text}");
        }
    }

    #[test]
    fn the_link_leads_to_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("proplet/outbox");
        make(&link, Path::new("/dev/vdc")).unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("/dev/vdc"));
        assert!(make(&link, Path::new("/dev/vdd")).is_err(), "made once");
    }

    #[test]
    fn whoever_looks_at_the_console_knows_what_there_is() {
        let disk = || Some(PathBuf::from("/dev/vdc"));
        assert_eq!(line(true, disk()).unwrap(), "the outbox is on /dev/vdc");
        let missing = line(true, None).unwrap();
        assert!(missing.starts_with("outbox-unavailable: "), "{missing}");
        let unused = line(false, disk()).unwrap();
        assert!(unused.contains(OUTBOX_DEVICE), "{unused}");
        assert_eq!(line(false, None), None);
    }
}
