//! What this host takes for a piece of evidence beside what the TEE takes.
//!
//! The production provider asks the kernel's TSM interface, emulated: through FUSE, where each file operation
//! goes to the kernel and back to this process, and without a file system between. The emulator signs with a
//! fake's keys, which takes longer than all else here; its own time is measured inside of it and taken off.
//! What is left is the provider: a thread that waits for the device, the file operations, reading back what
//! was signed, the certificate and whether it fits. Under FUSE it is the operations' way through the kernel
//! too, which real configfs has not.
//!
//! FUSE takes root and `/dev/fuse`; without them that part is left out, and the output says so. Nothing here
//! fails because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]
#![cfg(target_os = "linux")]

use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::Criterion;
use proplet_hal::hardware::{HardwareKind, HardwareTee};
use proplet_hal::tsm::{FolderFiles, TsmFiles, TsmReports};
use proplet_hal::{ReportData, TeeProvider as _};
use proplet_testkit::tee::{FakeSnp, FakeTdx, TsmDevice, TsmMount, TsmTree, TsmTreeFiles};
use tempfile::TempDir;

/// Files, with the time that their operations take.
struct Timed {
    files: TsmTreeFiles,
    nanoseconds: Arc<AtomicU64>,
}

impl Timed {
    fn time<T>(&self, operation: impl FnOnce(&TsmTreeFiles) -> T) -> T {
        let start = Instant::now();
        let done = operation(&self.files);
        let took = u64::try_from(start.elapsed().as_nanos()).unwrap();
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        done
    }
}

impl TsmFiles for Timed {
    fn folder(&self) -> &Path {
        self.files.folder()
    }

    fn create(&self, entry: &str) -> io::Result<()> {
        self.time(|files| files.create(entry))
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        self.time(|files| files.remove(entry))
    }

    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        self.time(|files| files.read(entry, attribute, limit))
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<usize> {
        self.time(|files| files.write(entry, attribute, value))
    }
}

/// What the emulator says of itself.
enum Emulator {
    Mounted(
        TsmMount,
        #[expect(dead_code, reason = "it is there until the end")] TempDir,
    ),
    InProcess(Arc<AtomicU64>),
}

impl Emulator {
    /// Its own time so far, and how many requests it has answered.
    fn used(&self) -> (Duration, u64) {
        match self {
            Self::Mounted(mount, _) => {
                let served = mount.served();
                (served.time, served.requests)
            }
            Self::InProcess(time) => (Duration::from_nanos(time.load(Ordering::Relaxed)), 0),
        }
    }
}

/// The production provider over an emulator.
struct Way {
    name: String,
    provider: HardwareTee,
    emulator: Emulator,
}

impl Way {
    fn mounted(kind: HardwareKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mount = TsmMount::new(Arc::new(tree(kind)), folder.path()).unwrap();
        let files = FolderFiles::new(PathBuf::from(mount.path()));
        Self::new(
            kind,
            "through FUSE",
            files,
            Emulator::Mounted(mount, folder),
        )
    }

    fn in_process(kind: HardwareKind) -> Self {
        let nanoseconds = Arc::<AtomicU64>::default();
        let files = Timed {
            files: TsmTreeFiles::new(Arc::new(tree(kind))),
            nanoseconds: Arc::clone(&nanoseconds),
        };
        Self::new(
            kind,
            "without FUSE",
            files,
            Emulator::InProcess(nanoseconds),
        )
    }

    fn new(kind: HardwareKind, how: &str, files: impl TsmFiles, emulator: Emulator) -> Self {
        let way = TsmReports::with(kind, files);
        Self {
            name: format!("{}, {how}", kind.as_str()),
            provider: HardwareTee::with_ways(kind, vec![Box::new(way)]),
            emulator,
        }
    }

    async fn ask(&self) {
        let data = ReportData::new(&[7; 64]).unwrap();
        black_box(self.provider.evidence(&data).await.unwrap());
    }

    /// Medians of the whole, and of what is left without the emulator's own time; requests for each piece.
    async fn measure(&self, rounds: usize) -> (Duration, Duration, u64) {
        let (mut whole, mut left) = (Vec::new(), Vec::new());
        let (_, before) = self.emulator.used();
        for _ in 0..rounds {
            let (used, _) = self.emulator.used();
            let start = Instant::now();
            self.ask().await;
            let took = start.elapsed();
            let own = self.emulator.used().0.saturating_sub(used);
            whole.push(took);
            left.push(took.saturating_sub(own));
        }
        let requests = self.emulator.used().1.saturating_sub(before);
        (median(whole), median(left), requests / rounds as u64)
    }
}

fn tree(kind: HardwareKind) -> TsmTree {
    TsmTree::new(match kind {
        HardwareKind::Snp => TsmDevice::snp(FakeSnp::new()),
        HardwareKind::Tdx => TsmDevice::tdx(FakeTdx::new()),
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    // `cargo test` and `--test` see that it works; only a real `cargo bench` takes its time.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let rounds: usize = if given("--bench") && !given("--test") {
        1_000
    } else {
        1
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let kinds = [HardwareKind::Snp, HardwareKind::Tdx];
    let mut ways: Vec<_> = kinds.map(Way::in_process).into();
    if rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists() {
        ways.extend(kinds.map(Way::mounted));
    } else {
        eprintln!("LEFT OUT: evidence through FUSE, which takes root and /dev/fuse");
    }

    let mut criterion = Criterion::default().configure_from_args();
    for way in &ways {
        criterion.bench_function(&way.name, |bencher| {
            bencher.iter(|| tokio.block_on(way.ask()));
        });
    }
    criterion.final_summary();

    println!(
        "\n{:<28} {:>9} {:>9} {:>9} {:>9}",
        "us", "whole", "emulator", "left", "requests"
    );
    for way in &ways {
        // The first pieces warm it up.
        tokio.block_on(way.measure(rounds.div_ceil(10)));
        let (whole, left, requests) = tokio.block_on(way.measure(rounds));
        let [whole, left] = [whole, left].map(|time| time.as_secs_f64() * 1e6);
        let own = whole - left;
        println!(
            "{:<28} {whole:>9.1} {own:>9.1} {left:>9.1} {requests:>9}",
            way.name
        );
    }
}
