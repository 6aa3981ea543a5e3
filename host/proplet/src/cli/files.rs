//! Files that commands read and write.
//!
//! Whatever is read is bounded and wiped when dropped: most of it is keys, components that are to be
//! encrypted, or their results. Whatever is written is new and its owner's alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::error::CliError;

/// Largest key, key set or certificate bundle, in bytes.
pub(super) const MAX_KEY_BYTES: u64 = 256 * 1024;
/// Length of a key that wraps the keys of layers, in bytes.
const IMAGE_KEY_BYTES: u64 = 32;
/// Largest component or layer, in bytes.
pub(super) const MAX_COMPONENT_BYTES: u64 = 256 * 1024 * 1024;
/// Largest document (result, evidence, task JSON, inputs), in bytes. A result document in a whole task's
/// JSON has its text escaped once more.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 256 * 1024 * 1024;

/// Reads a file. `what` it is to be goes into the error.
pub(super) fn read(what: &str, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let file = File::open(path).map_err(|error| CliError::input(what, path, unopened(&error)))?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    bounded(file, length, limit).map_err(|error| CliError::input(what, path, error))
}

/// Reads a key file: the 32 bytes as they are.
pub(super) fn read_image_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    image_key(path, read("key", path, IMAGE_KEY_BYTES)?)
}

/// As [`read_image_key`], of a file that another program named. A pipe or a device would hold up this one for as long
/// as whoever named it likes.
pub(super) fn read_image_key_of_others(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let failed = |error: io::Error| CliError::input("key", path, unopened(&error));
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::from_ne_bytes(flags.to_ne_bytes()))
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(CliError::input("key", path, "it is no regular file"));
    }
    image_key(
        path,
        bounded(file, metadata.len(), IMAGE_KEY_BYTES).map_err(failed)?,
    )
}

fn image_key(path: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, CliError> {
    if bytes.len() as u64 != IMAGE_KEY_BYTES {
        return Err(CliError::input(
            "key",
            path,
            "it must have 32 bytes, as --key-out writes them",
        ));
    }
    Ok(bytes)
}

/// As [`read`], where `-` is standard input.
pub(super) fn read_or_stdin(
    what: &str,
    path: &Path,
    limit: u64,
    stdin: &mut (dyn Read + Send),
) -> Result<Zeroizing<Vec<u8>>, CliError> {
    if path == Path::new("-") {
        return bounded(stdin, 0, limit).map_err(|error| CliError::input(what, path, error));
    }
    read(what, path, limit)
}

/// Reads a text file.
pub(super) fn read_text(
    what: &str,
    path: &Path,
    limit: u64,
) -> Result<Zeroizing<String>, CliError> {
    text(what, path, &read(what, path, limit)?)
}

/// The text in bytes that were read from `path`.
pub(super) fn text(what: &str, path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, CliError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(CliError::input(
            what,
            path,
            "it is binary, and a text (UTF-8) is wanted: name another file",
        )),
    }
}

/// Writes a new file that only its owner may read, through to the disk.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    write_new(path, bytes, 0o600).map_err(|error| CliError::output(path, &error))
}

/// Writes a new file that everybody may read.
pub(super) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    write_new(path, bytes, 0o644).map_err(|error| CliError::output(path, &error))
}

/// Why a file cannot be opened, and what to do.
fn unopened(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such file; check its name and the folder that this is run in".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}; give this user the right to read it, or run this as another")
        }
        _ => error.to_string(),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn bounded(reader: impl Read, expected: u64, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // With room for all of it the buffer does not move, and moving leaves a copy behind.
    let room = usize::try_from(expected.min(limit))
        .unwrap_or_default()
        .saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secret_files_are_new_and_their_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_secret(&path, b"secret").unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = write_secret(&path, b"other").unwrap_err();
        assert!(again.words().contains("is not overwritten"), "{again:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
    }

    #[test]
    fn links_are_not_followed_into_files_that_exist() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_secret(&link, b"secret").unwrap_err();
        assert!(!target.exists());
    }

    #[test]
    fn a_key_that_others_name_is_in_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("key"), [3; 32]).unwrap();
        let key = read_image_key_of_others(&path("key")).unwrap();
        assert_eq!(key.as_slice(), [3; 32]);
        std::fs::write(path("short"), [3; 31]).unwrap();
        let error = read_image_key_of_others(&path("short")).unwrap_err();
        assert!(error.words().contains("32 bytes"), "{error:?}");
        // Nobody ever writes into the pipe.
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR).unwrap();
        for path in [path("pipe"), folder.path().into(), "/dev/zero".into()] {
            let error = read_image_key_of_others(&path).unwrap_err();
            assert!(error.words().contains("regular"), "{error:?}");
        }
        let error = read_image_key_of_others(&path("nothing")).unwrap_err();
        assert!(error.words().contains("no such file"), "{error:?}");
    }

    #[test]
    fn large_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read("file", &path, 5).unwrap().as_slice(), b"12345");
        let error = read("file", &path, 4).unwrap_err();
        assert!(error.words().contains("larger than 4 bytes"), "{error:?}");
    }
}
