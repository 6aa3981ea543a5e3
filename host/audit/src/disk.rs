//! The folder that the files lie in.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use proplet_disk::{FolderError, PrivateFolder, Readers};
use proplet_types::Digest;
use thiserror::Error;

use crate::{entry::MAX_LINE_BYTES, health::Trouble};

const LOCK: &str = "audit.lock";
/// A group may read, which is what a collector of logs needs.
const LOG_MODE: u32 = 0o640;

/// Why there is no log, which an operator has to change.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error(
        "another proplet writes its audit log into {}; stop it, or give this one a folder of its own in [audit] path",
        .0.display()
    )]
    InUse(PathBuf),
    /// Others may use it.
    #[error(
        "{} is not this user's alone (mode {mode:o}, owner {owner}); name a folder of the proplet's own in [audit] path, \
         that nobody else may write, with mode 700 or 750",
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
    #[error("{} is no folder; name one in [audit] path", .0.display())]
    NoFolder(PathBuf),
    /// The thread that writes could not be started.
    #[error("the audit log cannot be written: {0}")]
    Thread(io::Error),
    /// There are no random bytes for the boot's name.
    #[error(
        "the operating system gave no random bytes for the name of the audit log; look at its kernel log"
    )]
    Random,
}

/// Why the folder was not opened.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Trying again cannot help.
    Fatal(OpenError),
    /// It may.
    Trouble(Trouble),
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

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub name: String,
    /// Its number, from which its name is made.
    pub number: u64,
    pub bytes: u64,
}

/// What a file ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Hash of the last whole line, if there is one.
    pub head: Option<Digest>,
    /// Whether something stands behind it.
    pub torn: bool,
}

/// Where files are written.
pub(crate) trait Disk: Send {
    /// Makes it ready, again if that failed before.
    fn open(&mut self) -> Result<(), Failure>;
    /// The files of logs that are there, oldest first.
    fn files(&mut self) -> io::Result<Vec<Found>>;
    /// What a file ends with.
    fn tail(&mut self, name: &str) -> io::Result<Tail>;
    /// Begins a file.
    fn create(&mut self, name: &str) -> io::Result<Box<dyn Log>>;
    /// Removes one.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// A file that is being written.
pub(crate) trait Log: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it to this length; what is appended next stands there.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// Whether it has no name any more, so that nobody will ever read it.
    fn is_removed(&self) -> io::Result<bool>;
}

/// The name of a file.
pub(crate) fn name(number: u64) -> String {
    format!("audit-{number:08}.jsonl")
}

/// The number in a name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let is_number = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// A folder on a file system, locked for as long as this lives.
pub(crate) struct Folder(PrivateFolder);

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        // A group may read it, which is what a collector of logs needs.
        Self(PrivateFolder::new(path, Readers::Group, LOCK))
    }
}

impl Disk for Folder {
    fn open(&mut self) -> Result<(), Failure> {
        Ok(self.0.open()?)
    }

    fn files(&mut self) -> io::Result<Vec<Found>> {
        let mut files = Vec::new();
        for file in std::fs::read_dir(self.0.path())? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if let Some(number) = number(&name) {
                files.push(Found {
                    bytes: file.metadata()?.len(),
                    name,
                    number,
                });
            }
        }
        files.sort_by_key(|file| file.number);
        Ok(files)
    }

    fn tail(&mut self, name: &str) -> io::Result<Tail> {
        let options = &mut OpenOptions::new();
        let mut file = self.0.file(name, LOG_MODE, options.read(true))?;
        let bytes = file.metadata()?.len();
        // A line, a torn one, and their ends.
        let window = 2 * (MAX_LINE_BYTES as u64 + 1);
        file.seek(SeekFrom::Start(bytes.saturating_sub(window)))?;
        let mut end = Vec::new();
        file.take(window).read_to_end(&mut end)?;
        Ok(tail(&end))
    }

    fn create(&mut self, name: &str) -> io::Result<Box<dyn Log>> {
        let options = &mut OpenOptions::new();
        let file = (self.0).file(name, LOG_MODE, options.write(true).create_new(true))?;
        self.0.sync()?;
        Ok(Box::new(LogFile {
            is_counted: file.metadata()?.nlink() > 0,
            file,
        }))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.path().join(name))?;
        self.0.sync()
    }
}

/// What the last bytes of a file end with.
fn tail(bytes: &[u8]) -> Tail {
    let torn = bytes.last().is_some_and(|byte| *byte != b'\n');
    let mut lines = bytes.rsplit(|byte| *byte == b'\n');
    // Behind the last line's end: nothing, or what is torn.
    lines.next();
    Tail {
        head: lines.next().map(Digest::of),
        torn,
    }
}

struct LogFile {
    file: File,
    /// Whether the file system counts names. Some that are programs do not.
    is_counted: bool,
}

impl Log for LogFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn is_removed(&self) -> io::Result<bool> {
        Ok(self.is_counted && self.file.metadata()?.nlink() == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn fatal(folder: &Path) -> String {
        match Folder::new(folder.to_owned()).open() {
            Err(Failure::Fatal(error)) => error.to_string(),
            Err(Failure::Trouble(trouble)) => panic!("{trouble}"),
            Ok(()) => panic!("it opened"),
        }
    }

    #[test]
    fn names_have_numbers() {
        assert_eq!(name(7), "audit-00000007.jsonl");
        assert_eq!(number(&name(7)), Some(7));
        assert_eq!(number(&name(1 << 40)), Some(1 << 40));
        for other in [
            "audit-7.jsonl",
            "audit-00000007.json",
            "audit-0000000x.jsonl",
            "audit.lock",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_tail_is_the_last_whole_line() {
        let of = |text: &str| tail(text.as_bytes());
        let head = |line: &str| Some(Digest::of(line.as_bytes()));
        let whole = |head| Tail { head, torn: false };
        assert_eq!(of(""), whole(None));
        assert_eq!(of("a\n"), whole(head("a")));
        assert_eq!(of("a\nb\n"), whole(head("b")));
        let torn = |head| Tail { head, torn: true };
        assert_eq!(of("a\nb"), torn(head("a")));
        assert_eq!(of("b"), torn(None));
    }

    #[test]
    fn the_folder_is_the_owners_and_nobody_else_writes_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let mut folder = Folder::new(path.clone());
        folder.open().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path) & 0o027, 0);
        let mut log = folder.create(&name(1)).unwrap();
        log.append(b"one\ntwo\n").unwrap();
        log.truncate(4).unwrap();
        log.append(b"three\n").unwrap();
        log.sync().unwrap();
        assert_eq!(fs::read(path.join(name(1))).unwrap(), b"one\nthree\n");
        assert_eq!(mode(&path.join(name(1))) & 0o027, 0);
        let tail = folder.tail(&name(1)).unwrap();
        assert_eq!((tail.head, tail.torn), (Some(Digest::of(b"three")), false));
        assert!(!log.is_removed().unwrap());
        folder.create(&name(1)).map(drop).unwrap_err();
        assert!(fatal(&path).contains("another proplet"));
        drop(folder);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(fatal(&path).contains("mode 770"));
        assert!(fatal(&root.path().join("a/b").join(name(1))).contains("no folder"));
    }

    #[test]
    fn files_are_found_by_their_numbers() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(root.path().join("audit"));
        folder.open().unwrap();
        for number in [10, 2, 100_000_000] {
            let mut log = folder.create(&name(number)).unwrap();
            log.append(b"x").unwrap();
        }
        let numbers = |folder: &mut Folder| -> Vec<u64> {
            let files = folder.files().unwrap();
            files.iter().map(|file| file.number).collect()
        };
        assert_eq!(numbers(&mut folder), [2, 10, 100_000_000]);
        folder.remove(&name(2)).unwrap();
        assert_eq!(numbers(&mut folder), [10, 100_000_000]);
    }
}
