//! The corpora, through the same functions as the fuzzers.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz_targets::TARGETS;

/// The most bytes of one file, and of all together.
const MAX_FILE: usize = 16 * 1024;
const MAX_ALL: usize = 1024 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn corpora_are_replayed() {
    for (name, target) in TARGETS {
        let files = files(&folder("corpus").join(name));
        assert!(!files.is_empty(), "corpus/{name} is empty");
        let mut taken = 0;
        for file in files {
            // Printed when the target panics, and not otherwise.
            println!("{}", file.display());
            taken += usize::from(target(&fs::read(file).unwrap()));
        }
        assert!(
            taken > 0,
            "nothing in corpus/{name} is taken: its fuzzer would start from nothing"
        );
    }
}

/// What a fuzzer tries first, without its feedback: every file cut short at many places, and with bytes changed.
#[test]
fn damaged_corpora_are_replayed() {
    for (name, target) in TARGETS {
        for file in files(&folder("corpus").join(name)) {
            println!("{}", file.display());
            let bytes = fs::read(file).unwrap();
            let step = bytes.len() / 8 + 1;
            for at in (0..bytes.len()).step_by(step) {
                target(&bytes[..at]);
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (at % 8);
                target(&changed);
                changed.splice(at..at, [0xff, b'"', 0]);
                target(&changed);
            }
        }
    }
}

#[test]
fn corpora_are_small_and_belong_to_a_target() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let corpora = files(&folder("corpus"));
    assert_eq!(corpora.iter().map(name).collect::<BTreeSet<_>>(), targets);
    let fuzzers = files(&folder("fuzz_targets"));
    assert_eq!(fuzzers.iter().map(name).collect::<BTreeSet<_>>(), targets);
    let sizes = corpora.iter().flat_map(|folder| files(folder)).map(|file| {
        let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
        assert!(size <= MAX_FILE, "{} has {size} bytes", file.display());
        size
    });
    let all: usize = sizes.sum();
    assert!(all <= MAX_ALL, "the corpora have {all} bytes");
}
