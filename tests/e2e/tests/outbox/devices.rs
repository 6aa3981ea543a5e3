//! An outbox that lies directly on a block device, with a loop device as the disk.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use proplet_testkit::broker::{BrokerSetup, Manager, Task, TestBroker};

use crate::machine::{Daemon, ENTITY, PATIENCE, add, present, settings, spin, system};

const MIB: u64 = 1024 * 1024;

/// A disk that is a file of this machine's, and is taken away in the end.
struct LoopDisk {
    file: PathBuf,
    device: String,
}

impl LoopDisk {
    fn new(folder: &Path, size: u64) -> Self {
        let file = folder.join("disk.img");
        File::create(&file).unwrap().set_len(size).unwrap();
        Self::of(file)
    }

    fn of(file: PathBuf) -> Self {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        Self { file, device }
    }

    fn settings(&self) -> String {
        format!("[outbox]\npath = \"{}\"\n", self.device)
    }

    /// What lies on the disk itself, and not in memory.
    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }

    /// Waits until this is on the disk.
    async fn has(&self, words: &str) {
        let begin = Instant::now();
        let words = words.as_bytes();
        while !self
            .bytes()
            .windows(words.len())
            .any(|found| found == words)
        {
            assert!(begin.elapsed() < PATIENCE, "it is not on the disk");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

async fn connected(port: u16) -> (TestBroker, Manager) {
    let setup = BrokerSetup {
        port,
        ..BrokerSetup::default()
    };
    let broker = TestBroker::with(setup).await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    (broker, manager)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices; .ci/run runs it"]
async fn what_a_killed_daemon_left_on_a_device_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = LoopDisk::new(folder.path(), 16 * MIB);
    let (broker, manager) = connected(0).await;
    let port = broker.port();
    let more = disk.settings() + "plain_results = true\n";
    let start = |more: &str| {
        Daemon::start(
            &[],
            folder.path(),
            &settings(&format!("tcp://127.0.0.1:{port}"), more),
        )
    };

    let daemon = start(&format!("{more}[limits]\nwall_clock_ms = 5000\n"));
    present(&manager, 0).await;
    manager.start(&add("told")).await.unwrap();
    assert_eq!(manager.result("told").await.unwrap().results, "30");
    manager.start(&spin("waits")).await.unwrap();
    daemon.says("Executing task waits");
    broker.stop().await;
    disk.has("limit-wall-clock").await;
    // Kill -9.
    drop(daemon);

    let (_broker, manager) = connected(port).await;
    let daemon = start(&more);
    let error = manager.result("waits").await.unwrap().error.unwrap();
    assert!(error.starts_with("limit-wall-clock: "), "{error}");
    // That may be told before tasks can arrive.
    present(&manager, 0).await;
    manager.start(&spin("runs")).await.unwrap();
    daemon.says("Executing task runs");
    let times = manager.on("control/proplet/create").len();
    drop(daemon);

    let mut daemon = start(&more);
    let error = manager.result("runs").await.unwrap().error.unwrap();
    assert!(error.starts_with("interrupted: "), "{error}");
    present(&manager, times).await;
    manager.start(&add("after")).await.unwrap();
    assert_eq!(manager.result("after").await.unwrap().results, "30");
    daemon.terminate();
    daemon.ended();
    for (task, count) in [("waits", 1), ("runs", 1), ("told", 0), ("after", 1)] {
        assert_eq!(manager.results_so_far(task), count, "{task}");
    }
}

/// A result of so many bytes.
fn large(id: &str, bytes: usize) -> Task {
    let module = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") {pages})
            (func (export "_start")
                (memory.fill (i32.const 64) (i32.const 120) (i32.const {bytes}))
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const {bytes}))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
        pages = bytes / 65536 + 2
    );
    Task {
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "_start", wat::parse_str(module).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices; .ci/run runs it"]
async fn a_full_device_takes_no_tasks_until_results_have_left() {
    let folder = tempfile::tempdir().unwrap();
    let disk = LoopDisk::new(folder.path(), 8 * MIB);
    let (broker, manager) = connected(0).await;
    // Results stay on the disk for a while.
    let more = disk.settings() + "plain_results = true\n";
    let text = settings(&broker.url(), &more).replace(
        "heartbeat_seconds = 1\n",
        "heartbeat_seconds = 1\nresults_not_before_ms = 35000\n",
    );
    let mut daemon = Daemon::start(&[], folder.path(), &text);
    daemon.says("may be full before the outbox holds");
    present(&manager, 0).await;
    let tasks: Vec<_> = (0..12).map(|number| format!("task-{number}")).collect();
    for task in &tasks {
        manager.start(&large(task, 900_000)).await.unwrap();
    }
    let begin = Instant::now();
    let done = || daemon.log().matches("completed successfully").count();
    while done() < tasks.len() {
        assert!(begin.elapsed() < PATIENCE, "{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // More is owed than there is room for.
    manager.start(&add("refused")).await.unwrap();
    for task in &tasks {
        let outcome = manager.result(task).await.unwrap();
        assert_eq!((outcome.error, outcome.results.len()), (None, 900_000));
    }
    let refused = manager.result("refused").await.unwrap().error.unwrap();
    assert!(refused.starts_with("outbox-unavailable: "), "{refused}");
    assert!(refused.contains("is full"), "{refused}");
    // The store is tried again within a second.
    let left = Instant::now();
    for number in 0.. {
        let task = format!("after-{number}");
        manager.start(&add(&task)).await.unwrap();
        let outcome = manager.result(&task).await.unwrap();
        match outcome.error {
            None => {
                assert_eq!(outcome.results, "30");
                break;
            }
            Some(error) => assert!(error.starts_with("outbox-unavailable: "), "{error}"),
        }
        assert!(left.elapsed() < PATIENCE, "{}", daemon.log());
    }
    daemon.terminate();
    daemon.ended();
}

/// Starts a daemon that ends by itself, and gives what it said.
fn refuses(folder: &Path, settings: &str) -> String {
    let path = folder.join("refused.toml");
    fs::write(&path, settings).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lab-daemon"))
        .arg(&path)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices; .ci/run runs it"]
async fn a_device_has_one_proplet_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let disk = LoopDisk::new(folder.path(), 16 * MIB);
    let (broker, manager) = connected(0).await;
    let text = settings(&broker.url(), &disk.settings());
    let mut daemon = Daemon::start(&[], folder.path(), &text);
    present(&manager, 0).await;
    let second = refuses(folder.path(), &text);
    assert!(second.contains("Busy("), "{second}");
    // By another name of the same device, too.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&disk.device, &link).unwrap();
    let second = refuses(
        folder.path(),
        &text.replace(&disk.device, link.to_str().unwrap()),
    );
    assert!(second.contains("Busy("), "{second}");
    daemon.terminate();
    daemon.ended();

    // A file system, mounted or not, is left alone.
    let file = folder.path().join("ext4.img");
    File::create(&file).unwrap().set_len(16 * MIB).unwrap();
    system(&["mkfs.ext4", "-q", file.to_str().unwrap()]);
    let before = fs::read(&file).unwrap();
    let other = LoopDisk::of(file.clone());
    let said = refuses(folder.path(), &settings(&broker.url(), &other.settings()));
    assert!(said.contains("Foreign {"), "{said}");
    assert!(said.contains(&other.device), "{said}");
    assert!(fs::read(&file).unwrap() == before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices; .ci/run runs it"]
async fn a_damaged_device_is_left_as_it_is_and_another_one_taken() {
    let folder = tempfile::tempdir().unwrap();
    let disk = LoopDisk::new(folder.path(), 16 * MIB);
    let (broker, manager) = connected(0).await;
    let text = settings(&broker.url(), &disk.settings());
    let mut daemon = Daemon::start(&[], folder.path(), &text);
    present(&manager, 0).await;
    daemon.terminate();
    daemon.ended();
    let device = File::options().write(true).open(&disk.device).unwrap();
    device.write_all_at(&[7; 4096], MIB).unwrap();
    device.sync_all().unwrap();
    drop(device);

    let before = disk.bytes();
    let times = manager.on("control/proplet/create").len();
    let mut daemon = Daemon::start(&[], folder.path(), &text);
    present(&manager, times).await;
    manager.start(&add("a")).await.unwrap();
    let error = manager.result("a").await.unwrap().error.unwrap();
    assert!(error.starts_with("outbox-unavailable: "), "{error}");
    assert!(error.contains("restart with another one"), "{error}");
    daemon.terminate();
    daemon.ended();
    assert!(disk.bytes() == before);

    let others = folder.path().join("other");
    fs::create_dir(&others).unwrap();
    let other = LoopDisk::new(&others, 16 * MIB);
    let times = manager.on("control/proplet/create").len();
    let mut daemon = Daemon::start(
        &[],
        folder.path(),
        &settings(&broker.url(), &other.settings()),
    );
    present(&manager, times).await;
    manager.start(&add("b")).await.unwrap();
    assert_eq!(manager.result("b").await.unwrap().results, "30");
    daemon.terminate();
    daemon.ended();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_disk_that_the_settings_name_no_task_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, manager) = connected(0).await;
    let more = "[outbox]\npath = \"/dev/proplet-test/outbox\"\n";
    let mut daemon = Daemon::start(&[], folder.path(), &settings(&broker.url(), more));
    present(&manager, 0).await;
    manager.start(&add("a")).await.unwrap();
    let error = manager.result("a").await.unwrap().error.unwrap();
    assert!(error.starts_with("outbox-unavailable: "), "{error}");
    assert!(
        error.contains("no disk for the outbox at /dev/proplet-test/outbox"),
        "{error}"
    );
    daemon.terminate();
    daemon.ended();
    assert!(!Path::new("/dev/proplet-test").exists());
}
