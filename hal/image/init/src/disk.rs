//! Documents on disks: Kata's layout of init-data disks.
//!
//! A disk begins with a word of eight bytes, the length of what follows as 64 bits little-endian, and a gzip stream
//! of that length; then zeros. The word is `initdata` for the measured document, `operator` for the other. Whoever
//! runs the VM writes these disks, so nothing in them is believed before it was checked: lengths are bounded before
//! and after unpacking.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use proplet_hal::init_data::MAX_INIT_DATA_BYTES;
use thiserror::Error;

/// How long disks may take to appear after their driver was loaded.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest document, unpacked.
const MAX_LEN: u64 = MAX_INIT_DATA_BYTES as u64;

/// Which disk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The measured document.
    InitData,
    /// The operator's document.
    Operator,
}

/// Why a disk cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The system could not.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It begins with something else.
    #[error("it does not begin with `{0}`; make it with `proplet-image-builder`")]
    Word(&'static str),
    /// The document is too large.
    #[error("the document in it is larger than 1 MiB; leave files out of it")]
    TooLarge,
    /// The document is not text.
    #[error("the document in it is no UTF-8 text")]
    NotText,
}

impl Container {
    /// The word at the beginning, and the serial number of the disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InitData => "initdata",
            Self::Operator => "operator",
        }
    }

    /// Reads the document of a disk.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn read(self, disk: &mut impl Read) -> Result<String, DiskError> {
        let mut word = [0; 8];
        disk.read_exact(&mut word)?;
        if word != self.name().as_bytes() {
            return Err(DiskError::Word(self.name()));
        }
        let mut len = [0; 8];
        disk.read_exact(&mut len)?;
        let len = u64::from_le_bytes(len);
        // What does not shrink is a little longer as gzip than by itself.
        if len > MAX_LEN + MAX_LEN / 8 {
            return Err(DiskError::TooLarge);
        }
        let mut document = Vec::new();
        GzDecoder::new(disk.take(len))
            .take(MAX_LEN + 1)
            .read_to_end(&mut document)?;
        if document.len() as u64 > MAX_LEN {
            return Err(DiskError::TooLarge);
        }
        String::from_utf8(document).map_err(|_| DiskError::NotText)
    }
}

/// The disk of this serial number, waited for. `wait` is whether it has to be there.
pub(crate) fn find(serial: &str, wait: bool) -> Option<PathBuf> {
    let begin = Instant::now();
    loop {
        let found = with_serial(Path::new("/sys/block"), serial);
        if found.is_some() || !wait || begin.elapsed() > PATIENCE {
            return found.map(|name| Path::new("/dev").join(name));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The document of the disk at a path.
pub(crate) fn read(container: Container, path: &Path) -> Result<String, DiskError> {
    container.read(&mut File::open(path)?)
}

/// The name of the block device of this serial number.
fn with_serial(devices: &Path, serial: &str) -> Option<String> {
    let mut names: Vec<_> = fs::read_dir(devices)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names.into_iter().find(|name| {
        fs::read_to_string(devices.join(name).join("serial"))
            .is_ok_and(|found| found.trim_end_matches(['\n', '\0']) == serial)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn disk(word: &[u8], document: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(document).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut disk = word.to_vec();
        disk.extend((gzip.len() as u64).to_le_bytes());
        disk.extend(gzip);
        disk.resize(disk.len().next_multiple_of(512), 0);
        disk
    }

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let disk = disk(b"initdata", b"version = \"0.1.0\"\n");
        let read = Container::InitData.read(&mut disk.as_slice()).unwrap();
        assert_eq!(read, "version = \"0.1.0\"\n");
        let error = Container::Operator.read(&mut disk.as_slice()).unwrap_err();
        assert!(matches!(error, DiskError::Word("operator")), "{error}");
    }

    #[test]
    fn what_is_too_large_is_not_unpacked() {
        let large = vec![b' '; MAX_INIT_DATA_BYTES + 1];
        let error = |disk: &[u8]| Container::InitData.read(&mut &*disk).unwrap_err();
        assert!(matches!(
            error(&disk(b"initdata", &large)),
            DiskError::TooLarge
        ));
        let mut claims = disk(b"initdata", b"x");
        claims[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(error(&claims), DiskError::TooLarge));
        assert!(
            Container::InitData
                .read(&mut disk(b"initdata", &large[1..]).as_slice())
                .is_ok()
        );
    }

    #[test]
    fn what_is_broken_is_refused() {
        let error = |disk: &[u8]| Container::InitData.read(&mut &*disk).unwrap_err();
        assert!(matches!(error(b""), DiskError::Read(_)));
        assert!(matches!(error(b"initdata\x05"), DiskError::Read(_)));
        assert!(matches!(
            error(b"initdata\x05\0\0\0\0\0\0\0hello"),
            DiskError::Read(_)
        ));
        assert!(matches!(
            error(&disk(b"initdata", &[0xff])),
            DiskError::NotText
        ));
        let whole = disk(b"initdata", b"hello");
        assert!(matches!(error(&whole[..30]), DiskError::Read(_)));
    }

    #[test]
    fn disks_are_found_by_their_serial_number() {
        let devices = tempfile::tempdir().unwrap();
        for (name, serial) in [
            ("vda", "operator\n"),
            ("vdb", "initdata\n"),
            ("vdc", "initdata\n"),
        ] {
            fs::create_dir(devices.path().join(name)).unwrap();
            fs::write(devices.path().join(name).join("serial"), serial).unwrap();
        }
        assert_eq!(
            with_serial(devices.path(), "initdata").as_deref(),
            Some("vdb")
        );
        assert_eq!(with_serial(devices.path(), "init").as_deref(), None);
        assert_eq!(with_serial(Path::new("/nowhere"), "initdata"), None);
    }

    proptest! {
        #[test]
        fn any_disk_is_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            len in 0_u64..300,
        ) {
            let _ = Container::InitData.read(&mut bytes.as_slice());
            let disk = [b"initdata", &len.to_le_bytes()[..], &bytes].concat();
            let _ = Container::InitData.read(&mut disk.as_slice());
        }
    }
}
