//! An image in one tar file. It is read where it lies: the headers once, then the blobs that are
//! needed. Nothing is unpacked onto the disk, so no name in it can lead anywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::file::{failed, whole};
use crate::error::ImageError;

/// The most entries that an archive may have.
const MAX_ENTRIES: usize = 100_000;
/// Where the magic of a tar header stands, and what it starts with (POSIX and GNU).
const TAR_MAGIC: (u64, &[u8]) = (257, b"ustar");
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// An archive and where its files start and how long they are.
pub(super) struct Archive {
    path: PathBuf,
    files: BTreeMap<String, (u64, u64)>,
}

/// Whether a file is an archive, compressed or not: by its first bytes.
///
/// # Errors
/// [`ImageError::Folder`] when it cannot be read.
pub fn is_archive(path: &Path) -> Result<bool, ImageError> {
    let file = File::open(path).map_err(|e| failed(path, &e))?;
    let mut start = Vec::new();
    let (offset, magic) = TAR_MAGIC;
    file.take(offset + magic.len() as u64)
        .read_to_end(&mut start)
        .map_err(|e| failed(path, &e))?;
    Ok(start.ends_with(magic) && start.len() as u64 > offset || start.starts_with(GZIP_MAGIC))
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let mut file = File::open(path).map_err(|e| failed(path, &e))?;
        let mut start = [0; 2];
        let read = file.read(&mut start).map_err(|e| failed(path, &e))?;
        let refuse = |why: String| ImageError::layout(path.display().to_string(), why);
        if start.get(..read) == Some(GZIP_MAGIC) {
            return Err(refuse(
                "the archive is compressed; unpack it with `gunzip` first".to_owned(),
            ));
        }
        file.rewind().map_err(|e| failed(path, &e))?;
        let unreadable = |e: std::io::Error| refuse(format!("it is no readable tar archive: {e}"));
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(&file);
        let entries = archive.entries_with_seek().map_err(unreadable)?;
        for (number, entry) in entries.enumerate() {
            if number >= MAX_ENTRIES {
                return Err(refuse(format!("it has more than {MAX_ENTRIES} entries")));
            }
            let entry = entry.map_err(unreadable)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path_bytes();
            let Ok(name) = std::str::from_utf8(&name) else {
                continue;
            };
            let name = name.trim_start_matches("./").to_owned();
            // A name twice is how two readers come to see two images.
            let place = (entry.raw_file_position(), entry.size());
            if files.insert(name.clone(), place).is_some() {
                return Err(refuse(format!("it has {name:?} twice")));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            files,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    pub(super) fn load(&self, name: &str, limit: u64) -> Result<Bytes, ImageError> {
        let what = self.show(name);
        let Some((start, length)) = self.files.get(name) else {
            return Err(ImageError::Folder {
                path: what,
                why: "it is not in the archive".to_owned(),
            });
        };
        if *length > limit {
            return Err(ImageError::TooLarge { what, limit });
        }
        let mut file = File::open(&self.path).map_err(|e| failed(&self.path, &e))?;
        file.seek(SeekFrom::Start(*start))
            .map_err(|e| failed(&self.path, &e))?;
        whole(file.take(*length), limit, &what)
    }

    pub(super) fn show(&self, name: &str) -> String {
        format!("{} in {}", name, self.path.display())
    }
}
