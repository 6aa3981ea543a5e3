//! A folder that one process has to itself.
//!
//! It is looked at before anything in it is opened: who owns it, and what others may do there. Once nobody else can
//! write in it, nobody else can exchange what is opened next, so there is no race between the look and the use. A file
//! in it is opened without following a link all the same, for one that an earlier owner or a restored backup left.
//!
//! The lock is a file's (`flock`), so it ends with the process however that ends. Whoever can open that file can hold
//! the lock, and so keep a proplet from starting; so it is the owner's alone, also where a group may read the rest.
//! A process that was killed holds it for an instant longer, and so does a program that it was about to start, so who
//! finds it taken looks again for a second before it is another process's.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

const LOCK_MODE: u32 = 0o600;
/// How long who holds the lock may take to go.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Who may read what is in a folder. Nobody but its owner ever writes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner. It is made with mode 700.
    Owner,
    /// Its group as well. It is made with mode 750.
    Group,
}

impl Readers {
    /// The mode that a folder is made with.
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Group => 0o750,
        }
    }

    /// Whether a folder of this mode and this owner is as private as that, for this user.
    fn suit(self, mode: u32, owner: u32, user: u32) -> bool {
        let refused = match self {
            Self::Owner => 0o077,
            Self::Group => 0o027,
        };
        mode & refused == 0 && owner == user
    }
}

/// Why there is no folder to use. Its words are with whoever names the folder: they say which setting to change.
#[derive(Debug)]
pub enum FolderError {
    /// Another process has it.
    InUse(PathBuf),
    /// Others may do more in it than they should, or it is somebody else's.
    Shared {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// It is a file.
    NoFolder(PathBuf),
    /// The system says no. To try again may help.
    Io(io::Error),
}

impl From<io::Error> for FolderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A folder on a file system, locked for as long as this lives, once it is open.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
    readers: Readers,
    lock_name: &'static str,
    lock: Option<File>,
}

impl PrivateFolder {
    /// The folder at this path, with a lock of this name in it. Nothing is done there yet.
    #[must_use]
    pub fn new(path: PathBuf, readers: Readers, lock_name: &'static str) -> Self {
        Self {
            path,
            readers,
            lock_name,
            lock: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it if it is not there, and takes its lock; does nothing where that was done. After an error it may be
    /// tried again. Blocks for up to a second where another process has it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(&mut self) -> Result<(), FolderError> {
        if self.lock.is_some() {
            return Ok(());
        }
        self.make()?;
        let folder = std::fs::metadata(&self.path)?;
        if !folder.is_dir() {
            return Err(FolderError::NoFolder(self.path.clone()));
        }
        let (mode, owner) = (folder.mode() & 0o777, folder.uid());
        let user = rustix::process::geteuid().as_raw();
        if !self.readers.suit(mode, owner, user) {
            return Err(FolderError::Shared {
                path: self.path.clone(),
                mode,
                owner,
            });
        }
        self.lock = Some(self.locked()?);
        Ok(())
    }

    /// Opens a file in it as the options say, and with this mode where it is made. A link is not followed.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(&self, name: &str, mode: u32, options: &mut OpenOptions) -> io::Result<File> {
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits();
        options
            .mode(mode)
            .custom_flags(flags.cast_signed())
            .open(self.path.join(name))
    }

    /// Puts the names in it on the disk too, after a file was made, renamed or removed.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(self.readers.mode())
            .create(&self.path)
            .or_else(|error| match error.kind() {
                // Something of this name is there: what it is, is looked at afterwards.
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Ok(()),
                _ => Err(error),
            })
    }

    fn locked(&self) -> Result<File, FolderError> {
        let options = &mut OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let lock = self.file(self.lock_name, LOCK_MODE, options)?;
        // One of an earlier build may be readable. Some file systems have no modes to set, and none to mend.
        if lock.metadata()?.mode() & 0o077 != 0 {
            lock.set_permissions(Permissions::from_mode(LOCK_MODE))?;
        }
        let begin = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(FolderError::InUse(self.path.clone()));
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    const LOCK: &str = "lock";

    fn folder(path: &Path, readers: Readers) -> PrivateFolder {
        PrivateFolder::new(path.to_owned(), readers, LOCK)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn it_is_made_for_its_readers() {
        let root = tempfile::tempdir().unwrap();
        for (readers, refused) in [(Readers::Owner, 0o077), (Readers::Group, 0o027)] {
            let path = root.path().join(format!("{readers:?}/inside"));
            let mut folder = folder(&path, readers);
            folder.open().unwrap();
            folder.open().unwrap();
            assert_eq!(mode(&path) & refused, 0, "{readers:?}");
            assert_eq!(mode(&path) & 0o700, 0o700, "{readers:?}");
            folder.sync().unwrap();
        }
    }

    #[test]
    fn one_process_has_it_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("folder");
        let mut first = folder(&path, Readers::Owner);
        first.open().unwrap();
        let mut second = folder(&path, Readers::Owner);
        let error = second.open().unwrap_err();
        assert!(
            matches!(&error, FolderError::InUse(at) if *at == path),
            "{error:?}"
        );
        drop(first);
        second.open().unwrap();
    }

    #[test]
    fn one_that_others_may_use_is_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("folder");
        fs::create_dir(&path).unwrap();
        for (readers, refused) in [
            (Readers::Owner, &[0o755, 0o750, 0o710, 0o701][..]),
            (Readers::Group, &[0o770, 0o755, 0o751]),
        ] {
            for refused in refused {
                set_mode(&path, *refused);
                let error = folder(&path, readers).open().unwrap_err();
                assert!(
                    matches!(error, FolderError::Shared { mode, .. } if mode == *refused),
                    "{error:?}"
                );
                assert!(!path.join(LOCK).exists());
            }
        }
        set_mode(&path, 0o750);
        folder(&path, Readers::Group).open().unwrap();
    }

    #[test]
    fn one_of_somebody_elses_suits_nobody() {
        for readers in [Readers::Owner, Readers::Group] {
            assert!(readers.suit(0o700, 1000, 1000));
            assert!(!readers.suit(0o700, 1001, 1000));
            // Root could use it, and has others do so too.
            assert!(!readers.suit(0o700, 1000, 0));
        }
    }

    #[test]
    fn a_file_is_no_folder() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = folder(&file, Readers::Owner).open().unwrap_err();
        assert!(
            matches!(&error, FolderError::NoFolder(at) if *at == file),
            "{error:?}"
        );
        // Nor can there be one below it.
        let error = folder(&file.join("below"), Readers::Owner).open();
        assert!(matches!(error, Err(FolderError::Io(_))), "{error:?}");
    }

    #[test]
    fn who_may_read_the_folder_cannot_hold_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("folder");
        let lock = path.join(LOCK);
        let mut first = folder(&path, Readers::Group);
        first.open().unwrap();
        assert_eq!(mode(&lock) & 0o077, 0);
        drop(first);
        // Nor one that was there before.
        set_mode(&lock, 0o640);
        folder(&path, Readers::Group).open().unwrap();
        assert_eq!(mode(&lock), LOCK_MODE);
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("folder");
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, "others'").unwrap();
        let mut opened = folder(&path, Readers::Owner);
        opened.open().unwrap();
        symlink(&elsewhere, path.join("file")).unwrap();
        let options = &mut OpenOptions::new();
        options.write(true).create(true).truncate(true);
        opened.file("file", 0o600, options).unwrap_err();
        drop(opened);
        // In place of the lock neither.
        fs::remove_file(path.join(LOCK)).unwrap();
        set_mode(&elsewhere, 0o644);
        symlink(&elsewhere, path.join(LOCK)).unwrap();
        let error = folder(&path, Readers::Owner).open().unwrap_err();
        assert!(matches!(error, FolderError::Io(_)), "{error:?}");
        assert_eq!(fs::read(&elsewhere).unwrap(), b"others'");
        assert_eq!(mode(&elsewhere), 0o644);
    }
}
