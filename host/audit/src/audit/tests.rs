//! The whole log, from what is put on record to what is read of its files.

mod chains;
mod disk;
mod expected;
mod files;
mod waiting;

use std::{
    fs,
    io::BufReader,
    path::Path,
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use super::*;
use crate::{
    entry::Entry,
    verify::{Report, Verifier},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that goes on by a second whenever it is looked at.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> SystemTime {
        let seconds = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }
}

fn options(place: Place) -> Options {
    Options {
        place,
        sealing: None,
        clock: Arc::new(Ticking::default()),
        patience: PATIENCE,
        export: None,
        boot: Boot {
            version: "1.2.3".to_owned(),
            settings: Digest::of(b"settings"),
        },
    }
}

fn folder(path: &Path) -> Place {
    Place::Folder {
        path: path.to_owned(),
        max_file_bytes: 1 << 20,
        max_bytes: None,
    }
}

async fn open(options: Options) -> Audit {
    let (audit, opening) = Audit::open(options).unwrap();
    opening.done().await.unwrap();
    audit
}

/// Files by name, as they are sorted.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .map(|name| {
            let text = fs::read_to_string(folder.join(&name)).unwrap();
            (name, text)
        })
        .collect();
    files.sort();
    files
}

fn verified(files: &[(String, String)], heads: &[Digest]) -> Report {
    let mut verifier = Verifier::new();
    for head in heads {
        verifier.look_for(*head);
    }
    for (name, text) in files {
        let reader = BufReader::new(text.as_bytes());
        verifier.file(name, reader, |_| {}).unwrap();
    }
    verifier.finish()
}

fn entries(files: &[(String, String)]) -> Vec<Entry> {
    let lines = files.iter().flat_map(|(_, text)| text.lines());
    lines
        .map(|line| Entry::parse(line.as_bytes()).unwrap())
        .collect()
}

fn kinds(files: &[(String, String)]) -> Vec<String> {
    let entries = entries(files);
    entries.into_iter().map(|entry| entry.kind).collect()
}

fn result(text: &str) -> Event {
    Event::Result {
        digest: Digest::of(text.as_bytes()),
        sequence: 1,
        completed: true,
    }
}
