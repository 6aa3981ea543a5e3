//! Files by name, in a folder or in an archive.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::archive::Archive;
use super::file::{failed, load};
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
