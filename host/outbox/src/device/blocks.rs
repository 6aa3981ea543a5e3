//! A device as a row of bytes of a fixed length.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use rustix::fs::{FallocateFlags, fallocate};

/// Zeros that are written at once, in bytes.
const ZEROS: usize = 64 * 1024;

/// What a store lies on where there is no file system.
pub(crate) trait Blocks: Send + Sync + 'static {
    /// How many bytes there are.
    fn size(&self) -> io::Result<u64>;

    /// Reads all of these bytes, or fails.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of these bytes, or fails.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes so many bytes zero.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        write_zeros(self, offset, length)
    }

    /// Ends when all that was written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// A block device that is open.
pub(crate) struct Raw(pub(crate) Arc<File>);

impl Blocks for Raw {
    fn size(&self) -> io::Result<u64> {
        size(&self.0)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        // Many disks have a command for it.
        if fallocate(&*self.0, FallocateFlags::ZERO_RANGE, offset, length).is_ok() {
            return Ok(());
        }
        write_zeros(self, offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// How many bytes a device has, which are not among its metadata.
pub(super) fn size(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

fn write_zeros(blocks: &(impl Blocks + ?Sized), offset: u64, length: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let (mut at, mut left) = (offset, length);
    while left > 0 {
        let part = usize::try_from(left).map_or(ZEROS, |left| left.min(ZEROS));
        blocks.write(at, zeros.get(..part).unwrap_or(&zeros))?;
        at = at.saturating_add(part as u64);
        left = left.saturating_sub(part as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zeroed_is_zero_and_nothing_beside_it() {
        let file = tempfile::tempfile().unwrap();
        let raw = Raw(Arc::new(file));
        raw.write(0, &[7; 300_000]).unwrap();
        for zero in [
            |raw: &Raw, offset, length| raw.zero(offset, length),
            |raw: &Raw, offset, length| write_zeros(raw, offset, length),
        ] {
            raw.write(4096, &[7; 200_000]).unwrap();
            zero(&raw, 8192, 131_072 + 4096).unwrap();
            let mut bytes = vec![1; 300_000];
            raw.read(0, &mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, raw.size().unwrap());
            assert!(bytes[8192..143_360].iter().all(|byte| *byte == 0));
            assert!(bytes[..8192].iter().all(|byte| *byte == 7));
            assert!(bytes[143_360..].iter().all(|byte| *byte == 7));
        }
        let beyond = raw.read(299_999, &mut [0; 2]).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }
}
