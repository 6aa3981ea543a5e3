//! What the outbox costs per task, beside writing and syncing the same bytes to a file.
//!
//! Stores in clear and sealed ones take turns too, so what sealing costs is seen in the same run.
//!
//! A task's way is what the daemon does for it: its id goes in, its result goes in, and it is forgotten. The first two
//! are waited for, so a task alone costs two commits, and its removal goes with one of the next. The baseline
//! appends as many bytes to a file as often as there is something to wait for, and syncs it each time; for a group
//! it does so once for all, which is the least that anybody can do. Both sides take turns on one disk, so
//! whatever else it does disturbs both alike, and medians are compared.
//!
//! The store lies where `PROPLET_BENCH_DIR` says, else in the build's folder: on a file system in memory a
//! sync costs nothing and the ratio says nothing.
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
    time::{Duration, Instant},
};

use criterion::Criterion;
use proplet_outbox::{Answer, Journal, Options, Rerun, Sealing, SealingRoot};
use tokio::runtime::Runtime;

/// A sealed result of 1 KiB is about twice that as a results message.
const RESULT_BYTES: usize = 2048;
const ID: &str = "3f0b9c1e-6a55-4c0e-9a43-0d1f2a7b6c58";
const GROUPS: [usize; 4] = [1, 8, 64, 512];
const ROUNDS: usize = 25;

fn main() {
    let place = std::env::var_os("PROPLET_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&place).unwrap();
    let folder = tempfile::tempdir_in(&place).unwrap();
    let runtime = Runtime::new().unwrap();
    let open = |name, sealing| runtime.block_on(journal(&folder.path().join(name), sealing));
    let journal = open("outbox", Sealing::Clear);
    let root = SealingRoot::new(&[7; 32]).unwrap();
    let sealed = open("sealed", Sealing::Root(root));
    let mut bare = File::create(folder.path().join("bare")).unwrap();

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("outbox: a task alone", |bencher| {
        bencher.iter(|| runtime.block_on(group(&journal, 1)));
    });
    criterion.bench_function("outbox: a task alone, sealed", |bencher| {
        bencher.iter(|| runtime.block_on(group(&sealed, 1)));
    });
    criterion.bench_function("bare: write and sync, twice", |bencher| {
        bencher.iter(|| write(&mut bare, 1));
    });
    criterion.final_summary();

    let is_test = std::env::args().any(|argument| argument == "--test");
    let rounds = if is_test { 1 } else { ROUNDS };
    println!(
        "\n| tasks at once | outbox, \u{b5}s per task | sealed, \u{b5}s per task | bare, \u{b5}s per task | \
         outbox to bare | sealed to outbox |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for tasks in GROUPS {
        let (mut ours, mut sealing, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let began = Instant::now();
            runtime.block_on(group(&journal, tasks));
            ours.push(began.elapsed());
            let began = Instant::now();
            runtime.block_on(group(&sealed, tasks));
            sealing.push(began.elapsed());
            let began = Instant::now();
            write(&mut bare, tasks);
            theirs.push(began.elapsed());
        }
        let each = |times: &mut Vec<Duration>| median(times).as_secs_f64() * 1e6 / tasks as f64;
        let (ours, theirs) = (each(&mut ours), each(&mut theirs));
        let sealing = each(&mut sealing);
        println!(
            "| {tasks} | {ours:.1} | {sealing:.1} | {theirs:.1} | {:.2} | {:.2} |",
            ours / theirs,
            sealing / ours
        );
    }
}

async fn journal(path: &Path, sealing: Sealing) -> Journal {
    let (journal, opening) = Journal::open(Options {
        path: path.to_owned(),
        max_bytes: 1 << 30,
        rerun: Rerun::Allowed,
        sealing,
        patience: std::time::Duration::from_secs(30),
    })
    .unwrap();
    opening.done().await.unwrap();
    journal
}

/// The way of so many tasks at once.
async fn group(journal: &Journal, tasks: usize) {
    let all: Vec<_> = (0..tasks)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let number = journal.accept(ID).await.unwrap();
                let answer = Answer::Kept(vec![b'x'; RESULT_BYTES].into());
                journal.answer(Some(number), ID, answer).await.1.unwrap();
                journal.forget(number);
            })
        })
        .collect();
    for task in all {
        task.await.unwrap();
    }
}

/// The same bytes at the end of a file, in two steps.
fn write(file: &mut File, tasks: usize) {
    for bytes in [ID.len() + 5, ID.len() + 5 + RESULT_BYTES] {
        file.write_all(&vec![b'x'; bytes * tasks]).unwrap();
        file.sync_data().unwrap();
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
