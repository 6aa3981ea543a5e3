//! A store that lies directly on a block device, without a file system.
//!
//! In a confidential VM a disk is the host's. A file system on it would be the host's bytes in the hands of the kernel's
//! drivers, which take them for those of a friend, and a crafted one is an attack on the kernel. Here nothing but this
//! process reads the disk: a header of a few fields, and the store, every checksum of which is verified when it is opened.
//!
//! **What is not ours is left alone.** A device counts as new when the first and the last mebibyte of it are zero. It is
//! used when it begins with our header. With anything else on it, it is refused, so that a path that names the wrong disk
//! costs nobody's data.
//!
//! **A damaged store stays where it is**, and no task is taken. A folder has room to keep it under another name, and a device
//! has not. To begin anew in the other half of the device would halve every device for a case that hardly any sees, and to
//! begin anew over it would lose tasks that may still be told from it; and since a store that is sealed under another root
//! cannot be gone on with either, it would lose all of it to a mistake in the settings. Whoever runs the machine has other disks, and can
//! keep this one.
//!
//! **One proplet uses it.** `O_EXCL` on a block device is a claim in the kernel, by whatever path or node it was opened. It
//! is refused while a file system is mounted from it or other devices are made of it, and none of that can be done
//! meanwhile. A lock on the node would be one on that name of it, and udev takes it for moments.

mod area;
mod blocks;
mod header;
#[cfg(test)]
mod tests;

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use redb::{Builder, Database};
use rustix::{fs::OFlags, io::Errno};
use tracing::{info, warn};

#[cfg(test)]
pub(crate) use self::area::database;
use self::blocks::Raw;
use crate::{
    disk::{Disk, Failure, OpenError},
    trouble::Trouble,
};

/// Where device nodes are.
const NODES: &str = "/dev";
/// There, a folder of files in memory.
const MEMORY: &str = "/dev/shm";
/// A store is at most so many times larger than what is in it.
const AROUND: u64 = 3;

/// Whether a path means a device: it is one, or nothing is there and it could be nothing else. A disk that is missing must
/// not become a folder in memory that has its name.
pub(crate) fn is_meant(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(found) => found.file_type().is_block_device(),
        Err(_) => path.starts_with(NODES) && !path.starts_with(MEMORY),
    }
}

/// A block device, claimed for as long as this lives.
pub(crate) struct Device {
    path: PathBuf,
    max_bytes: u64,
    file: Option<Arc<File>>,
    exhausted: Arc<AtomicBool>,
    /// Why the store on it is not gone on with. It is not opened again.
    unfit: Option<Trouble>,
}

impl Device {
    pub(crate) fn new(path: PathBuf, max_bytes: u64) -> Self {
        Self {
            path,
            max_bytes,
            file: None,
            exhausted: Arc::default(),
            unfit: None,
        }
    }

    /// Opens it, if it is not open.
    fn claimed(&mut self) -> Result<Arc<File>, Failure> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let no_device = || Failure::Fatal(OpenError::NoDevice(self.path.clone()));
        let found = std::fs::metadata(&self.path).map_err(|error| self.failure(error))?;
        // To open something else may already do something.
        if !found.file_type().is_block_device() {
            return Err(no_device());
        }
        let mode = found.mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(Failure::Fatal(OpenError::Public {
                path: self.path.clone(),
                mode,
            }));
        }
        let flags = (OFlags::EXCL | OFlags::CLOEXEC).bits();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.cast_signed())
            .open(&self.path)
            .map_err(|error| self.failure(error))?;
        if !file.metadata()?.file_type().is_block_device() {
            return Err(no_device());
        }
        self.tell(&file)?;
        let file = Arc::new(file);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    fn failure(&self, error: io::Error) -> Failure {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            // With a node and without a device, too.
            Some(Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::NOMEDIUM) => {
                Failure::Trouble(Trouble::absent(&self.path))
            }
            Some(Errno::BUSY) => Failure::Fatal(OpenError::Busy(self.path.clone())),
            _ => error.into(),
        }
    }

    /// Says what is used, and whether it is as large as the settings count on.
    fn tell(&self, file: &File) -> io::Result<()> {
        let size = blocks::size(file)?;
        let path = self.path.display();
        info!("The outbox lies on the device {path}, which has {size} bytes");
        if size / AROUND < self.max_bytes {
            warn!(
                "{path} may be full before the outbox holds the {} bytes of [outbox] max_bytes, for which {} bytes are \
                 enough: tasks are refused then",
                self.max_bytes,
                self.max_bytes.saturating_mul(AROUND)
            );
        }
        Ok(())
    }
}

impl Disk for Device {
    fn database(&mut self, builder: &Builder) -> Result<Database, Failure> {
        if let Some(why) = &self.unfit {
            return Err(why.clone().into());
        }
        let file = self.claimed()?;
        area::database(Raw(file), &self.path, &self.exhausted, builder)
    }

    fn set_aside(&mut self, why: &Trouble) -> io::Result<PathBuf> {
        self.unfit = Some(why.clone());
        Err(kept(&self.path))
    }
}

/// Why a damaged store on a device is not set aside, and what to do.
pub(crate) fn kept(path: &Path) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!(
            "{} is a device and is left as it is: restart with another one, or with this one wiped (blkdiscard -z)",
            path.display()
        ),
    )
}

/// Whether there is a header in one of these copies.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_header(first: &[u8], second: &[u8]) -> bool {
    let header::Found::Header(place, header) = header::find(first, second) else {
        return false;
    };
    let copy = match place {
        header::Place::First => first,
        header::Place::Second => second,
    };
    // Up to the end of the checksum.
    assert!(copy.starts_with(header.bytes().get(..72).unwrap_or_default()));
    true
}
