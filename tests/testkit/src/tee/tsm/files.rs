//! The emulated tree as the production provider's files, without a file system between.

use std::io;
use std::path::Path;
use std::sync::Arc;

use proplet_hal::tsm::{KERNEL_FOLDER, TsmFiles};
use rustix::io::Errno;

use super::tree::{Node, TsmTree};

/// The files of an emulated tree in this process.
#[derive(Debug, Clone)]
pub struct TsmTreeFiles(Arc<TsmTree>);

impl TsmTreeFiles {
    /// The files of this tree.
    #[must_use]
    pub fn new(tree: Arc<TsmTree>) -> Self {
        Self(tree)
    }

    fn open(&self, entry: &str, attribute: &str, writes: bool) -> Result<u64, Errno> {
        let folder = self.0.lookup(Node::Reports, entry)?;
        let file = self.0.lookup(folder, attribute)?;
        self.0.open(file, !writes, writes)
    }
}

impl TsmFiles for TsmTreeFiles {
    fn folder(&self) -> &Path {
        Path::new(KERNEL_FOLDER)
    }

    fn create(&self, entry: &str) -> io::Result<()> {
        self.0.mkdir(Node::Reports, entry)?;
        Ok(())
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        Ok(self.0.rmdir(Node::Reports, entry)?)
    }

    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        let handle = self.open(entry, attribute, false)?;
        let content = self.0.read(handle, 0, limit);
        self.0.release(handle);
        Ok(content?)
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<usize> {
        let handle = self.open(entry, attribute, true)?;
        let written = self.0.write(handle, 0, value);
        self.0.release(handle);
        Ok(written?)
    }
}
