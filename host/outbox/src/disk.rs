//! Where a store lies, and the folder that it lies in where there is a file system.

use std::{
    fs::OpenOptions,
    io,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use proplet_disk::{FolderError, PrivateFolder, Readers};
use redb::{Builder, Database, backends::FileBackend};
use thiserror::Error;

use crate::trouble::Trouble;

const STORE: &str = "outbox.redb";
const STORE_MODE: u32 = 0o600;
const LOCK: &str = "lock";
/// So many damaged stores are kept before somebody has to look at them.
const MAX_SET_ASIDE: usize = 16;

/// What an operator has to change before a proplet can use the folder or device.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "another proplet uses the outbox in {}; stop it, or give this one a folder of its own in [outbox] path",
        .0.display()
    )]
    InUse(PathBuf),
    /// Others may read it.
    #[error(
        "{} is not this user's alone (mode {mode:o}, owner {owner}); name a folder of the proplet's own in \
         [outbox] path, with mode 700",
        path.display()
    )]
    Shared {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// It is a file.
    #[error("{} is no folder; name one in [outbox] path", .0.display())]
    NoFolder(PathBuf),
    /// A path of devices names none.
    #[error("{} is no block device; name a block device or a folder in [outbox] path", .0.display())]
    NoDevice(PathBuf),
    /// Everybody may read or write the device.
    #[error(
        "everybody may open {} (mode {mode:o}); take that from others (chmod o=), or name another device in [outbox] path",
        path.display()
    )]
    Public {
        /// The device.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The device has an owner in the kernel.
    #[error(
        "{} is in use, by another proplet or as a file system; stop or unmount it, or name another device in [outbox] path",
        .0.display()
    )]
    Busy(PathBuf),
    /// Something else is on the device.
    #[error(
        "{} is left alone, because {what}; name another device in [outbox] path, or wipe this one if nobody needs what is \
         on it (blkdiscard -z)",
        path.display()
    )]
    Foreign {
        /// The device.
        path: PathBuf,
        /// What speaks against it.
        what: &'static str,
    },
    /// No store fits on the device.
    #[error("{} has {size} bytes, and an outbox takes {least}; name a larger device in [outbox] path", path.display())]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its size, in bytes.
        size: u64,
        /// The least size.
        least: u64,
    },
    /// The thread that writes could not be started.
    #[error("the outbox cannot be opened: {0}")]
    Thread(io::Error),
}

/// Why a store was not opened.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Trying again cannot help.
    Fatal(OpenError),
    /// It may.
    Trouble(Trouble),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Trouble((&error).into())
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        Self::Fatal(match error {
            FolderError::InUse(path) => OpenError::InUse(path),
            FolderError::Shared { path, mode, owner } => OpenError::Shared { path, mode, owner },
            FolderError::NoFolder(path) => OpenError::NoFolder(path),
            FolderError::Io(error) => return error.into(),
        })
    }
}

/// Where a store lies.
pub(crate) trait Disk: Send {
    /// Opens the database there, or makes it.
    fn database(&mut self, builder: &Builder) -> Result<Database, Failure>;

    /// Moves a damaged store out of the way and says where it is, or why it cannot.
    fn set_aside(&mut self, why: &Trouble) -> io::Result<PathBuf>;
}

/// A folder on a file system, locked for as long as this lives.
pub(crate) struct Folder(PrivateFolder);

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(PrivateFolder::new(path, Readers::Owner, LOCK))
    }
}

impl Disk for Folder {
    fn database(&mut self, builder: &Builder) -> Result<Database, Failure> {
        self.0.open()?;
        let options = &mut OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = self.0.file(STORE, STORE_MODE, options)?;
        self.0.sync()?;
        let backend = FileBackend::new(file).map_err(Trouble::from)?;
        Ok(builder
            .create_with_backend(backend)
            .map_err(Trouble::from)?)
    }

    fn set_aside(&mut self, _why: &Trouble) -> io::Result<PathBuf> {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let damaged = format!("{STORE}.damaged-");
        let mut kept = 0;
        for file in std::fs::read_dir(self.0.path())? {
            let name = file?.file_name();
            kept += usize::from(name.to_string_lossy().starts_with(&damaged));
        }
        if kept >= MAX_SET_ASIDE {
            return Err(io::Error::other(format!(
                "{kept} damaged stores are in {} already; look at the disk, and remove them",
                self.0.path().display()
            )));
        }
        // The number keeps apart what is set aside within one second.
        let aside = (self.0.path()).join(format!("{damaged}{seconds}-{kept}"));
        std::fs::rename(self.0.path().join(STORE), &aside)?;
        self.0.sync()?;
        Ok(aside)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn open(folder: &mut Folder) -> Result<Database, Failure> {
        folder.database(&Builder::new())
    }

    fn fatal(result: Result<Database, Failure>) -> String {
        match result {
            Err(Failure::Fatal(error)) => error.to_string(),
            Err(Failure::Trouble(trouble)) => panic!("{trouble}"),
            Ok(_) => panic!("it opened"),
        }
    }

    #[test]
    fn the_folder_and_its_files_are_the_owners() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        drop(open(&mut Folder::new(path.clone())).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for name in [STORE, LOCK] {
            assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn two_do_not_share_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("outbox");
        let mut first = Folder::new(path.clone());
        let database = open(&mut first).unwrap();
        let error = fatal(open(&mut Folder::new(path.clone())));
        assert!(error.contains("another proplet"), "{error}");
        drop((database, first));
        open(&mut Folder::new(path)).unwrap();
    }

    #[test]
    fn a_folder_of_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("outbox");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = fatal(open(&mut Folder::new(path.clone())));
        assert!(error.contains("755"), "{error}");
        assert!(!path.join(STORE).exists());
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(fatal(open(&mut Folder::new(file))).contains("no folder"));
    }

    #[test]
    fn a_link_in_place_of_the_store_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("outbox");
        let mut folder = Folder::new(path.clone());
        folder.0.open().unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, path.join(STORE)).unwrap();
        assert!(open(&mut folder).is_err());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"");
    }

    #[test]
    fn damaged_stores_are_set_aside_up_to_a_number() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("outbox");
        let mut folder = Folder::new(path.clone());
        for number in 0..MAX_SET_ASIDE {
            folder.0.open().unwrap();
            fs::write(path.join(STORE), format!("store {number}")).unwrap();
            let aside = folder.set_aside(&Trouble::Closed).unwrap();
            assert_eq!(
                fs::read(aside).unwrap(),
                format!("store {number}").as_bytes()
            );
        }
        fs::write(path.join(STORE), "one more").unwrap();
        assert!(folder.set_aside(&Trouble::Closed).is_err());
        assert_eq!(fs::read(path.join(STORE)).unwrap(), b"one more");
    }
}
