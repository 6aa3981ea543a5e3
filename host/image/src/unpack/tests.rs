use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proplet_types::Digest;
use proptest::prelude::*;

use super::bounded::Waiting;
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
        &Abandoned::default(),
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
        &Abandoned::default(),
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
        let given_up = Abandoned::default();
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
    let given_up = Abandoned::default();
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
