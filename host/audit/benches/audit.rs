//! What the audit log costs per task, beside writing the same bytes to a file.
//!
//! A task's entries are those of an encrypted task that reads one secret. Where the log is not required the daemon waits for
//! none of them, so what counts is the time that whoever makes them spends; the baseline writes the same lines to a file,
//! one by one, and syncs none. Where it is required, the acceptance is waited for, and those of many tasks share a sync;
//! the baseline writes the same bytes and syncs once for all that are there at once, which is the least that
//! anybody can do. Both sides take turns on one disk, so whatever else it does disturbs both alike, and medians are
//! compared.
//!
//! What it costs that addresses are sealed to recipients is measured in memory, beside the same entries without any.
//!
//! The log lies where `PROPLET_BENCH_DIR` says, else in the build's folder: on a file system in memory a sync costs
//! nothing and its ratio says nothing.
//!
//! Nothing here fails because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs
)]

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use proplet_audit::{Audit, Boot, Event, Options, Origin, Place, Sealing, TaskLog};
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_types::{Digest, SystemClock};
use tokio::runtime::Runtime;

const ID: &str = "3f0b9c1e-6a55-4c0e-9a43-0d1f2a7b6c58";
const GROUPS: [usize; 4] = [1, 8, 64, 512];
const ROUNDS: usize = 25;
/// Tasks in a round without a disk.
const TASKS: usize = 256;

fn main() {
    let place = std::env::var_os("PROPLET_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&place).unwrap();
    let folder = tempfile::tempdir_in(&place).unwrap();
    let runtime = Runtime::new().unwrap();
    let audit = runtime.block_on(on_disk(&folder.path().join("audit")));
    let mut bare = File::create(folder.path().join("bare")).unwrap();

    let mut criterion = Criterion::default().configure_from_args();
    let silent = in_memory(&[]);
    criterion.bench_function("audit: the entries of a task, in memory", |bencher| {
        bencher.iter(|| task(&silent, 0));
    });
    let key = PrivateKey::generate_x25519().unwrap();
    let sealed = in_memory(&[key.public().clone()]);
    criterion.bench_function("audit: the same, sealed to one X25519 key", |bencher| {
        bencher.iter(|| task(&sealed, 0));
    });
    criterion.final_summary();

    let given = |word: &str| std::env::args().any(|argument| argument == word);
    let in_earnest = given("--bench") && !given("--test");
    let rounds = if in_earnest { ROUNDS } else { 1 };
    let lines = lines_of_a_task();
    let bytes: usize = lines.iter().map(String::len).sum();
    println!(
        "\nA task has {} lines, {bytes} bytes.\n\n\
         | tasks at once | not waited for, \u{b5}s per task | bare writes, \u{b5}s | ratio | \
         required, \u{b5}s per task | bare write and sync, \u{b5}s | ratio |",
        lines.len()
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for tasks in GROUPS {
        let [mut made, mut written, mut required, mut synced] = [(); 4].map(|()| Vec::new());
        for _ in 0..rounds {
            made.push(timed(|| (0..tasks).for_each(|_| task(&audit, 0))));
            runtime.block_on(audit.flush()).unwrap();
            written.push(timed(|| write_lines(&mut bare, &lines, tasks)));
            bare.sync_data().unwrap();
            required.push(timed(|| runtime.block_on(accepted(&audit, tasks))));
            runtime.block_on(audit.flush()).unwrap();
            synced.push(timed(|| {
                bare.write_all(&vec![b'x'; bytes * tasks]).unwrap();
                bare.sync_data().unwrap();
            }));
        }
        let each = |times: &mut Vec<Duration>| median(times).as_secs_f64() * 1e6 / tasks as f64;
        let (made, written) = (each(&mut made), each(&mut written));
        let (required, synced) = (each(&mut required), each(&mut synced));
        println!(
            "| {tasks} | {made:.1} | {written:.1} | {:.2} | {required:.1} | {synced:.1} | {:.2} |",
            made / written,
            required / synced
        );
    }

    let p256 = || PrivateKey::generate_p256().unwrap().public().clone();
    let x25519 = || PrivateKey::generate_x25519().unwrap().public().clone();
    println!(
        "\n| entries sealed to | a component that ran before, \u{b5}s per task | ratio | \
         another each time, \u{b5}s per task | ratio |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (name, recipients) in [
        ("nobody", vec![]),
        ("one X25519 key", vec![x25519()]),
        ("one P-256 key", vec![p256()]),
        ("four X25519 keys", [(); 4].map(|()| x25519()).to_vec()),
    ] {
        let sealed = in_memory(&recipients);
        let [mut bare, mut same, mut another] = [(); 3].map(|()| Vec::new());
        for round in 0..rounds {
            bare.push(timed(|| (0..TASKS).for_each(|_| task(&silent, 0))));
            same.push(timed(|| (0..TASKS).for_each(|_| task(&sealed, 0))));
            another.push(timed(|| {
                (0..TASKS).for_each(|n| task(&sealed, 1 + round * TASKS + n))
            }));
        }
        let each = |times: &mut Vec<Duration>| median(times).as_secs_f64() * 1e6 / TASKS as f64;
        let (bare, same, another) = (each(&mut bare), each(&mut same), each(&mut another));
        println!(
            "| {name} | {same:.1} | {:.2} | {another:.1} | {:.2} |",
            same / bare,
            another / bare
        );
    }
}

fn options(place: Place, recipients: &[PublicKey]) -> Options {
    Options {
        place,
        sealing: Sealing::to(recipients.to_vec()),
        clock: Arc::new(SystemClock),
        // A machine that is held up holds up the disk, and is waited for.
        patience: Duration::from_secs(3600),
        export: None,
        boot: Boot {
            version: "1".to_owned(),
            settings: Digest::of(b"settings"),
        },
    }
}

fn in_memory(recipients: &[PublicKey]) -> Audit {
    Audit::open(options(Place::Memory, recipients)).unwrap().0
}

async fn on_disk(path: &Path) -> Audit {
    let place = Place::Folder {
        path: path.to_owned(),
        max_file_bytes: 64 << 20,
        max_bytes: Some(256 << 20),
    };
    let (audit, opening) = Audit::open(options(place, &[])).unwrap();
    opening.done().await.unwrap();
    audit
}

/// All entries of a task that runs this component.
fn task(audit: &Audit, component: usize) {
    let log = audit.begin(ID);
    log.record(Event::Accepted { encrypted: true });
    rest(&log, component);
}

/// Those after its acceptance.
fn rest(log: &TaskLog, component: usize) {
    log.record(Event::Component {
        origin: Origin::Encrypted,
        component: Digest::of(&component.to_le_bytes()),
        image: Some(Digest::of(b"image")),
        policy: Some(Digest::of(b"policy")),
        key: Some("kbs:///hospital/key/model".parse().unwrap()),
        recipients: vec!["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned()],
    });
    log.record(Event::Secret {
        uri: "kbs:///hospital/data/token".parse().unwrap(),
        refused: None,
    });
    log.record(Event::Result {
        digest: Digest::of(b"result"),
        sequence: 1,
        completed: true,
    });
    log.end(None);
}

/// Tasks that begin once it is on the disk that they were accepted, all at once.
async fn accepted(audit: &Audit, tasks: usize) {
    let all: Vec<_> = (0..tasks)
        .map(|_| {
            let audit = audit.clone();
            tokio::spawn(async move {
                let lost = audit.lost_so_far();
                let log = audit.begin(ID);
                log.record(Event::Accepted { encrypted: true });
                audit.flush_whole(lost).await.unwrap();
                rest(&log, 0);
            })
        })
        .collect();
    for task in all {
        task.await.unwrap();
    }
}

/// The lines of a task, as they stand in a file.
fn lines_of_a_task() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let audit = on_disk(&path).await;
        task(&audit, 0);
        audit.flush().await.unwrap();
    });
    let text = std::fs::read_to_string(path.join("audit-00000001.jsonl")).unwrap();
    let of_it = text.lines().filter(|line| line.contains(ID));
    of_it.map(|line| format!("{line}\n")).collect()
}

fn write_lines(file: &mut File, lines: &[String], tasks: usize) {
    for _ in 0..tasks {
        for line in lines {
            file.write_all(line.as_bytes()).unwrap();
        }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
