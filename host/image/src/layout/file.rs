//! Single files: read within a limit, and written whole or not at all.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::ImageError;

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
