//! The disks that a VM is started with: documents in Kata's layout, which the image's first process reads.

use std::io::{self, Write as _};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

/// Disks are read in sectors.
const SECTOR: usize = 512;

/// Puts a document on a disk. `word` is what the disk begins with, `initdata` or `operator`.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn write(word: &[u8; 8], document: &str) -> io::Result<Vec<u8>> {
    // No time and no name in the header, so the same document gives the same disk.
    let mut gzip: GzEncoder<Vec<u8>> = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    gzip.write_all(document.as_bytes())?;
    let gzip = gzip.finish()?;
    let mut disk = word.to_vec();
    disk.extend((gzip.len() as u64).to_le_bytes());
    disk.extend(gzip);
    disk.resize(disk.len().next_multiple_of(SECTOR), 0);
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_disk_has_word_length_and_document() {
        let disk = write(b"initdata", "version = \"0.1.0\"\n").unwrap();
        assert_eq!(disk.len(), 512);
        assert_eq!(&disk[..8], b"initdata");
        let len = u64::from_le_bytes(disk[8..16].try_into().unwrap());
        let mut text = String::new();
        let gzip = &disk[16..16 + usize::try_from(len).unwrap()];
        flate2::read::GzDecoder::new(gzip)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "version = \"0.1.0\"\n");
        assert_eq!(disk, write(b"initdata", &text).unwrap());
    }
}
