//! Finding the Wasm in a verified layer.
//!
//! Decompression happens in memory and is bounded: an archive may not unpack to more than the layer
//! limit. The output has the size that the archive's header names, allocated once, so nothing of it
//! is left behind by growing. (The decompressor's own 32 KiB window is freed, not wiped.)
//!
//! It is work on a thread that cannot be stopped from outside, and a small archive can make much of it. So
//! it looks again and again whether anybody still waits for it ([`Abandoned`]).

mod bounded;

use std::io::{Cursor, Read};

use flate2::read::MultiGzDecoder;
use proplet_component::Hashed;
use zeroize::Zeroizing;

pub(crate) use self::bounded::Abandoned;
use self::bounded::Bounded;
use crate::error::ImageError;
use crate::media::LayerForm;

/// The four bytes that a WebAssembly binary starts with.
pub(crate) const WASM_MAGIC: &[u8] = b"\0asm";
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The most entries that an archive may have.
const MAX_ENTRIES: usize = 10_000;
/// The most bytes that an archive may unpack to for each byte of its largest allowed module. Files
/// beside the module are passed over, and this bounds the work that it takes.
const MAX_ARCHIVE_RATIO: u64 = 2;

/// The Wasm in `layer`, at most `max_bytes` of it, unless it is given up. When it is the whole layer, it is hashed
/// already.
pub(crate) fn wasm(
    form: LayerForm,
    layer: Hashed,
    what: &str,
    max_bytes: u64,
    given_up: &Abandoned,
) -> Result<Hashed, ImageError> {
    if layer.bytes().starts_with(WASM_MAGIC) {
        return Ok(layer);
    }
    let layer = layer.bytes();
    let refuse = |why: String| ImageError::layout(what, why);
    let bytes = match form {
        LayerForm::Wasm => {
            return Err(refuse(
                "it is not a WebAssembly binary (no \\0asm magic)".to_owned(),
            ));
        }
        LayerForm::Archive if layer.starts_with(ZSTD_MAGIC) => {
            return Err(refuse(
                "it is compressed with zstd, which is not read; build the image with gzip, or push \
                 the module as it is"
                    .to_owned(),
            ));
        }
        LayerForm::Archive if layer.starts_with(GZIP_MAGIC) => {
            let compressed = || Bounded::new(Cursor::new(layer), u64::MAX, given_up);
            let mut start = [0; 4];
            let mut peek = MultiGzDecoder::new(compressed());
            if peek.read_exact(&mut start).is_ok() && start == WASM_MAGIC {
                return Err(refuse(
                    "it is a gzipped module without an archive around it, which is not read; push \
                     the module as it is"
                        .to_owned(),
                ));
            }
            find(MultiGzDecoder::new(compressed()), what, max_bytes, given_up)?
        }
        LayerForm::Archive => find(Cursor::new(layer), what, max_bytes, given_up)?,
    };
    if !bytes.starts_with(WASM_MAGIC) {
        return Err(refuse(
            "its .wasm file is not a WebAssembly binary (no \\0asm magic)".to_owned(),
        ));
    }
    Ok(Hashed::of(bytes))
}

/// The one `.wasm` file of a tar archive.
fn find(
    archive: impl Read,
    what: &str,
    max_bytes: u64,
    given_up: &Abandoned,
) -> Result<Zeroizing<Vec<u8>>, ImageError> {
    let refuse = |why: String| ImageError::layout(what, why);
    let too_large = || ImageError::TooLarge {
        what: format!("{what}, unpacked"),
        limit: max_bytes,
    };
    // Headers and padding come on top of a module of the largest size.
    let most = max_bytes
        .saturating_mul(MAX_ARCHIVE_RATIO)
        .saturating_add(1024 * 1024);
    let mut spent = Bounded::new(archive, most, given_up);
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
    if given_up.is_true() {
        Err(ImageError::Internal {
            doing: "unpacking a layer that nobody waits for any more",
        })
    } else if spent.exceeded {
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

#[cfg(test)]
mod tests;
