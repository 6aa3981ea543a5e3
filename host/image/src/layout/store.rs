//! Files by name, in a folder or in an archive.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::archive::Archive;
use crate::error::ImageError;

/// Where the files of an image are.
pub(super) enum Store {
    Folder(PathBuf),
    Archive(Archive),
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        if path.is_file() {
            Ok(Self::Archive(Archive::open(path)?))
        } else {
            Ok(Self::Folder(path.to_owned()))
        }
    }

    pub(super) fn is_archive(&self) -> bool {
        matches!(self, Self::Archive(_))
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, name: &str) -> Result<bool, ImageError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                std::fs::exists(&path).map_err(|e| failed(&path, &e))
            }
            Self::Archive(archive) => Ok(archive.has(name)),
        }
    }

    /// A whole file of at most `limit` bytes.
    pub(super) fn load(&self, name: &str, limit: u64) -> Result<Bytes, ImageError> {
        match self {
            Self::Folder(folder) => load(&folder.join(name), limit),
            Self::Archive(archive) => archive.load(name, limit),
        }
    }

    /// What a file is called in an error.
    pub(super) fn show(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Archive(archive) => archive.show(name),
        }
    }
}

/// A whole file of at most `limit` bytes.
pub(super) fn load(path: &Path, limit: u64) -> Result<Bytes, ImageError> {
    let file = std::fs::File::open(path).map_err(|e| failed(path, &e))?;
    whole(file, limit, &path.display().to_string())
}

/// Everything of a reader, at most `limit` bytes.
pub(super) fn whole(reader: impl Read, limit: u64, what: &str) -> Result<Bytes, ImageError> {
    let mut bytes = Vec::new();
    let read = reader.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    let read = read.map_err(|e| ImageError::Folder {
        path: what.to_owned(),
        why: e.to_string(),
    })?;
    if read as u64 > limit {
        return Err(ImageError::TooLarge {
            what: what.to_owned(),
            limit,
        });
    }
    Ok(bytes.into())
}

/// Writes a file so that it is either whole or not there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, bytes).map_err(|e| failed(&partial, &e))?;
    std::fs::rename(&partial, path).map_err(|e| failed(path, &e))
}

pub(super) fn failed(path: &Path, error: &std::io::Error) -> ImageError {
    ImageError::Folder {
        path: path.display().to_string(),
        why: error.to_string(),
    }
}
