//! Finding the Wasm in a verified layer.
//!
//! Decompression happens in memory and is bounded: an archive may not unpack to more than the layer
//! limit. The output has the size that the archive's header names, allocated once, so nothing of it
//! is left behind by growing. (The decompressor's own 32 KiB window is freed, not wiped.)

use std::io::{Cursor, Read};

use flate2::read::MultiGzDecoder;
use zeroize::Zeroizing;

use crate::error::ImageError;
use crate::media::LayerForm;

/// The four bytes that a WebAssembly binary starts with.
pub(crate) const WASM_MAGIC: &[u8] = b"\0asm";
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// The most entries that an archive may have.
const MAX_ENTRIES: usize = 10_000;
/// The most bytes that an archive may unpack to for each byte of its largest allowed module. Files
/// beside the module are passed over, and this bounds the work that it takes.
pub const MAX_ARCHIVE_RATIO: u64 = 2;

/// Wasm out of a layer.
pub(crate) struct Unpacked {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Whether the whole layer is the Wasm, so that their digests are one.
    pub(crate) whole_layer: bool,
}

/// The Wasm in `layer`, at most `max_bytes` of it.
pub(crate) fn wasm(
    form: LayerForm,
    layer: Zeroizing<Vec<u8>>,
    what: &str,
    max_bytes: u64,
) -> Result<Unpacked, ImageError> {
    if layer.starts_with(WASM_MAGIC) {
        return Ok(Unpacked {
            bytes: layer,
            whole_layer: true,
        });
    }
    let refuse = |why: String| ImageError::layout(what, why);
    let bytes = match form {
        LayerForm::Wasm => {
            return Err(refuse(
                "it is not a WebAssembly binary (no \\0asm magic)".to_owned(),
            ));
        }
        LayerForm::Archive if layer.starts_with(GZIP_MAGIC) => {
            let unpacked = MultiGzDecoder::new(Cursor::new(layer.as_slice()));
            find(unpacked, what, max_bytes)?
        }
        LayerForm::Archive => find(Cursor::new(layer.as_slice()), what, max_bytes)?,
    };
    if !bytes.starts_with(WASM_MAGIC) {
        return Err(refuse(
            "its .wasm file is not a WebAssembly binary (no \\0asm magic)".to_owned(),
        ));
    }
    Ok(Unpacked {
        bytes,
        whole_layer: false,
    })
}

/// The one `.wasm` file of a tar archive.
fn find(archive: impl Read, what: &str, max_bytes: u64) -> Result<Zeroizing<Vec<u8>>, ImageError> {
    let refuse = |why: String| ImageError::layout(what, why);
    let too_large = || ImageError::TooLarge {
        what: format!("{what}, unpacked"),
        limit: max_bytes,
    };
    let mut spent = Bounded {
        inner: archive,
        // Headers and padding come on top of a module of the largest size.
        left: max_bytes
            .saturating_mul(MAX_ARCHIVE_RATIO)
            .saturating_add(1024 * 1024),
        exceeded: false,
    };
    let result = (|| {
        let mut found: Option<Zeroizing<Vec<u8>>> = None;
        let mut archive = tar::Archive::new(&mut spent);
        let entries = archive.entries().map_err(|e| refuse(unreadable(&e)))?;
        for (number, entry) in entries.enumerate() {
            if number >= MAX_ENTRIES {
                return Err(refuse(format!("it has more than {MAX_ENTRIES} entries")));
            }
            let mut entry = entry.map_err(|e| refuse(unreadable(&e)))?;
            let kind = entry.header().entry_type();
            let path = entry.path_bytes();
            let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
            // `._` files are what some systems put beside each file for its attributes.
            if !name.ends_with(b".wasm") || name.starts_with(b"._") || kind.is_dir() {
                continue;
            }
            if !kind.is_file() && !kind.is_contiguous() {
                return Err(refuse(
                    "its .wasm entry is a link or a special file".to_owned(),
                ));
            }
            if found.is_some() {
                return Err(refuse(
                    "it has several .wasm files; put exactly one into the image".to_owned(),
                ));
            }
            let size = entry.size();
            if size > max_bytes {
                return Err(too_large());
            }
            let size = usize::try_from(size).map_err(|_| too_large())?;
            let mut bytes = Zeroizing::new(vec![0; size]);
            entry
                .read_exact(&mut bytes)
                .map_err(|e| refuse(unreadable(&e)))?;
            found = Some(bytes);
        }
        found.ok_or_else(|| {
            refuse("it has no .wasm file; put exactly one into the image".to_owned())
        })
    })();
    if spent.exceeded {
        Err(too_large())
    } else {
        result
    }
}

fn unreadable(error: &std::io::Error) -> String {
    // The reader's words can quote entry names, which are content of an encrypted layer.
    format!(
        "it is not a readable tar or tar+gzip archive ({:?})",
        error.kind()
    )
}

/// Reads at most `left` bytes and then fails, so that a small archive cannot unpack without end.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => {
                self.exceeded = true;
                Err(std::io::Error::other("the limit is reached"))
            }
        }
    }
}
