//! The few file operations that TSM reports are made of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The few file operations that TSM reports are made of, so that every error of the kernel can be tried.
///
/// An *entry* is a folder below the folder of reports; its *attributes* are files that the kernel makes.
pub trait TsmFiles: Send + Sync + 'static {
    /// The folder of reports, for messages.
    fn folder(&self) -> &Path;

    /// Makes an entry: `mkdir`.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, entry: &str) -> io::Result<()>;

    /// Removes an entry: `rmdir`.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, entry: &str) -> io::Result<()>;

    /// Reads an attribute to its end, or `limit` bytes of it.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>>;

    /// Writes an attribute by one `write`, and says how much of it was taken.
    ///
    /// # Errors
    /// What the system says.
    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<usize>;
}

/// The files below a folder.
#[derive(Debug, Clone)]
pub struct FolderFiles(PathBuf);

impl FolderFiles {
    /// The files below `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, entry: &str, attribute: &str) -> PathBuf {
        self.0.join(entry).join(attribute)
    }
}

impl TsmFiles for FolderFiles {
    fn folder(&self) -> &Path {
        &self.0
    }

    fn create(&self, entry: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(entry))
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        fs::remove_dir(self.0.join(entry))
    }

    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        File::open(self.path(entry, attribute))?
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<usize> {
        // Neither created nor truncated: the kernel makes attributes, and a value is one write.
        OpenOptions::new()
            .write(true)
            .open(self.path(entry, attribute))?
            .write(value)
    }
}
