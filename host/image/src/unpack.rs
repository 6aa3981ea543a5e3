//! Finding the Wasm in a verified layer.
//!
//! Decompression happens in memory and is bounded: an archive may not unpack to more than the layer
//! limit. The output has the size that the archive's header names, allocated once, so nothing of it
//! is left behind by growing. (The decompressor's own 32 KiB window is freed, not wiped.)
//!
//! It is work on a thread that cannot be stopped from outside, and a small archive can make much of it. So
//! it looks again and again whether anybody still waits for it ([`GivenUp`]).

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;
use proplet_component::Hashed;
use zeroize::Zeroizing;

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

/// Tells work that nobody waits for it any more. Clones tell of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    /// Says so when the guard is dropped, as it is with the future that holds it.
    pub(crate) fn when_dropped(&self) -> Waiting {
        Waiting(self.clone())
    }

    fn is_true(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Somebody waits as long as this lives.
pub(crate) struct Waiting(GivenUp);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// The Wasm in `layer`, at most `max_bytes` of it, unless it is given up. When it is the whole layer, it is hashed
/// already.
pub(crate) fn wasm(
    form: LayerForm,
    layer: Hashed,
    what: &str,
    max_bytes: u64,
    given_up: &GivenUp,
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
    given_up: &GivenUp,
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

/// Reads at most `left` bytes and then fails, so that a small archive cannot unpack without end. Fails as
/// well when it is given up. The decompressor reads from one too, because what it reads may unpack to nothing.
struct Bounded<'a, R> {
    inner: R,
    left: u64,
    exceeded: bool,
    given_up: &'a GivenUp,
}

impl<'a, R> Bounded<'a, R> {
    fn new(inner: R, left: u64, given_up: &'a GivenUp) -> Self {
        Self {
            inner,
            left,
            exceeded: false,
            given_up,
        }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given_up.is_true() {
            return Err(std::io::Error::other("nobody waits for it"));
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proplet_types::Digest;
    use proptest::prelude::*;

    use super::*;

    const WASM: &[u8] = b"\0asm\x01\0\0\0";
    const MAX: u64 = 1 << 20;

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Result<Hashed, ImageError> {
        unpack_as(LayerForm::Archive, bytes)
    }

    fn unpack_as(form: LayerForm, bytes: &[u8]) -> Result<Hashed, ImageError> {
        wasm(
            form,
            Hashed::of(bytes.to_vec()),
            "layer",
            MAX,
            &GivenUp::default(),
        )
    }

    fn refusal(bytes: &[u8]) -> String {
        let error = unpack(bytes).err().unwrap();
        assert_eq!(error.code(), "image-layout");
        error.to_string()
    }

    #[test]
    fn raw_wasm_is_the_layer() {
        for form in [LayerForm::Wasm, LayerForm::Archive] {
            let unpacked = unpack_as(form, WASM).unwrap();
            assert_eq!(unpacked.bytes(), WASM);
            assert_eq!(unpacked.digest(), Digest::of(WASM));
        }
    }

    #[test]
    fn the_one_wasm_file_is_found() {
        let long = format!("{}/module.wasm", "deep/".repeat(40));
        for path in ["module.wasm", "app/plugin.wasm", long.as_str()] {
            let archive = tar_of(&[
                ("README", b"text"),
                (path, WASM),
                ("._x.wasm", b"attributes"),
            ]);
            for bytes in [archive.clone(), gzip(&archive)] {
                let unpacked = unpack(&bytes).unwrap();
                assert_eq!(unpacked.bytes(), WASM, "{path}");
                assert_eq!(unpacked.digest(), Digest::of(WASM));
            }
        }
    }

    #[test]
    fn anything_but_one_wasm_file_is_refused() {
        assert!(refusal(&tar_of(&[("a.txt", WASM)])).contains("no .wasm file"));
        assert!(refusal(&tar_of(&[("a.wasm", WASM), ("b.wasm", WASM)])).contains("several"));
        assert!(refusal(&tar_of(&[("a.wasm", b"(module)")])).contains("magic"));
        assert!(refusal(&[]).contains("no .wasm file"));
        assert!(refusal(b"neither tar nor gzip").contains("not a readable"));
        assert!(refusal(&gzip(b"no tar")).contains("not a readable"));
        assert!(refusal(&gzip(WASM)).contains("gzipped module"));
        assert!(refusal(b"\x28\xb5\x2f\xfd rest").contains("zstd"));
        let whole = gzip(&tar_of(&[("a.wasm", WASM)]));
        assert!(refusal(&whole[..whole.len() / 2]).contains("not a readable"));
        let text = unpack_as(LayerForm::Wasm, b"(module)");
        assert!(text.err().unwrap().to_string().contains("magic"));
    }

    #[test]
    fn links_are_not_followed() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder
            .append_link(&mut header, "a.wasm", "/etc/passwd")
            .unwrap();
        assert!(refusal(&builder.into_inner().unwrap()).contains("link"));
    }

    #[test]
    fn archives_do_not_unpack_without_end() {
        let bomb = gzip(&tar_of(&[("zeros", &vec![0; 16 << 20]), ("a.wasm", WASM)]));
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(unpack(&bomb).err().unwrap().code(), "image-too-large");
        let large = gzip(&tar_of(&[("a.wasm", &vec![0; (1 << 20) + 1])]));
        assert_eq!(unpack(&large).err().unwrap().code(), "image-too-large");
        let many: Vec<(String, &[u8])> = (0..=MAX_ENTRIES)
            .map(|i| (format!("{i}"), &b""[..]))
            .collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        let result = wasm(
            LayerForm::Archive,
            Hashed::of(tar_of(&many)),
            "layer",
            64 << 20,
            &GivenUp::default(),
        );
        assert!(result.err().unwrap().to_string().contains("entries"));
    }

    /// Gives another piece at each read, and counts them.
    struct Endless<'a> {
        piece: &'a [u8],
        reads: &'a std::cell::Cell<usize>,
        give_up_at: usize,
        waiting: Option<Waiting>,
    }

    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.reads.set(self.reads.get() + 1);
            if self.reads.get() == self.give_up_at {
                self.waiting = None;
            }
            let length = self.piece.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.piece[..length]);
            Ok(length)
        }
    }

    #[test]
    fn what_nobody_waits_for_is_unpacked_no_further() {
        // Files one after the other, and compressed members that hold nothing: neither would end.
        let file = tar_of(&[("a.txt", b"")]);
        let nothing = gzip(b"");
        for compressed in [false, true] {
            let given_up = GivenUp::default();
            let reads = std::cell::Cell::new(0);
            let endless = Endless {
                piece: if compressed { &nothing } else { &file[..512] },
                reads: &reads,
                give_up_at: 100,
                waiting: Some(given_up.when_dropped()),
            };
            let bounded = Bounded::new(endless, 100 << 20, &given_up);
            let ended = if compressed {
                let unzipped = MultiGzDecoder::new(bounded);
                find(unzipped, "layer", 64 << 20, &given_up)
            } else {
                find(bounded, "layer", 64 << 20, &given_up)
            };
            let error = ended.unwrap_err().to_string();
            assert!(error.contains("nobody waits"), "{error}");
            assert_eq!(reads.get(), 100);
        }
        let given_up = GivenUp::default();
        drop(given_up.when_dropped());
        for archive in [file.clone(), gzip(&file)] {
            let ended = wasm(
                LayerForm::Archive,
                Hashed::of(archive),
                "layer",
                MAX,
                &given_up,
            );
            assert_eq!(ended.err().unwrap().code(), "image-internal");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes: Vec<u8>) {
            let _ = unpack(&bytes);
            let _ = unpack(&gzip(&bytes));
        }

        #[test]
        fn any_damage_is_survived(at in 0usize..2048, with: u8) {
            let mut archive = tar_of(&[("a.txt", b"text"), ("b.wasm", WASM)]);
            let at = at % archive.len();
            archive[at] = with;
            let _ = unpack(&archive);
        }

        #[test]
        fn what_is_packed_is_found(
            name in "[a-z]{1,20}(/[a-z]{1,20}){0,3}",
            content in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            let wasm_bytes = [WASM, &content].concat();
            let archive = tar_of(&[(&format!("{name}.wasm"), &wasm_bytes)]);
            let unpacked = unpack(&gzip(&archive)).unwrap();
            prop_assert_eq!(unpacked.bytes(), &wasm_bytes);
        }
    }
}
