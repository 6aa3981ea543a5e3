//! Real disks that are full, cannot be written, hang or hold nonsense, in a mount namespace of the daemon's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proplet_testkit::broker::{Manager, TestBroker};

use crate::machine::{Daemon, add, present, settings, spin, system};

/// Mounts what a test names, and becomes the daemon.
const ENTER: &str = "set -eu\nmount=$1\nshift\neval \"$mount\"\nexec \"$@\"\n";

struct Scene {
    folder: tempfile::TempDir,
    _broker: TestBroker,
    manager: Manager,
    daemon: Daemon,
}

impl Scene {
    /// A daemon whose outbox is below `disk`, which these commands make.
    async fn new(commands: impl Fn(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let more = format!("[outbox]\npath = \"{}\"\n", disk.join("outbox").display());
        let commands = commands(&disk);
        let enter = ["unshare", "-m", "sh", "-c", ENTER, "enter", &commands];
        let settings = settings(&broker.url(), &more);
        let daemon = Daemon::start(&enter, folder.path(), &settings);
        present(&manager, 0).await;
        Self {
            folder,
            _broker: broker,
            manager,
            daemon,
        }
    }

    /// The disk as the daemon sees it.
    fn disk(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.daemon.id()));
        let disk = self.folder.path().join("disk");
        root.join(disk.strip_prefix("/").unwrap())
    }

    /// What a task is refused with, or its result.
    async fn answer(&self, id: &str) -> String {
        self.manager.start(&add(id)).await.unwrap();
        let outcome = self.manager.result(id).await.unwrap();
        outcome.error.unwrap_or(outcome.results)
    }

    /// Waits until tasks are taken again.
    async fn recovers(&self) {
        self.daemon.says("The outbox can be written again");
        assert_eq!(self.answer("after").await, "30");
    }

    async fn ends(mut self) {
        self.daemon.terminate();
        self.daemon.ended();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root; .ci/run runs it"]
async fn a_full_disk_takes_no_tasks_until_there_is_room() {
    let scene = Scene::new(|disk| {
        let disk = disk.display();
        format!("mount -t tmpfs -o size=1m,mode=700 none {disk}; head -c 2m /dev/zero >{disk}/fill || true")
    })
    .await;
    let refused = scene.answer("full").await;
    assert!(refused.starts_with("outbox-unavailable: "), "{refused}");
    assert!(refused.contains("is full"), "{refused}");
    fs::remove_file(scene.disk().join("fill")).unwrap();
    system(&[
        "nsenter",
        "-t",
        &scene.daemon.id().to_string(),
        "-m",
        "mount",
        "-o",
        "remount,size=64m",
        &scene.folder.path().join("disk").display().to_string(),
    ]);
    scene.recovers().await;
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root; .ci/run runs it"]
async fn a_read_only_disk_takes_no_tasks_until_it_is_writable() {
    let scene =
        Scene::new(|disk| format!("mount -t tmpfs -o ro,mode=700 none {}", disk.display())).await;
    let refused = scene.answer("read-only").await;
    assert!(refused.starts_with("outbox-unavailable: "), "{refused}");
    assert!(refused.contains("cannot be written"), "{refused}");
    let pid = scene.daemon.id().to_string();
    let disk = scene.folder.path().join("disk").display().to_string();
    system(&[
        "nsenter",
        "-t",
        &pid,
        "-m",
        "mount",
        "-o",
        "remount,rw",
        &disk,
    ]);
    scene.recovers().await;
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root; .ci/run runs it"]
async fn a_damaged_store_is_set_aside_and_kept() {
    let scene = Scene::new(|disk| {
        let disk = disk.display();
        format!(
            "mount -t tmpfs -o mode=700 none {disk}; mkdir -m 700 {disk}/outbox; \
             yes nonsense | head -c 100000 >{disk}/outbox/outbox.redb"
        )
    })
    .await;
    assert_eq!(scene.answer("a").await, "30");
    let names = fs::read_dir(scene.disk().join("outbox")).unwrap();
    let aside: Vec<_> = names
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("outbox.redb.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(fs::read(&aside[0]).unwrap().starts_with(b"nonsense\n"));
    scene.ends().await;
}

/// Thaws a file system, also when the test fails: nobody can end a process that waits for one.
struct Frozen(PathBuf);

impl Frozen {
    fn new(disk: PathBuf) -> Self {
        system(&["fsfreeze", "-f", &disk.display().to_string()]);
        Self(disk)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        system(&["fsfreeze", "-u", &self.0.display().to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices; .ci/run runs it"]
async fn a_disk_that_hangs_holds_up_neither_answers_nor_stops_nor_the_end() {
    let mut scene = Scene::new(|disk| {
        let (disk, image) = (disk.display(), disk.with_extension("img"));
        let image = image.display();
        format!(
            "truncate -s 32M {image}; mkfs.ext4 -q {image}; mount -o loop {image} {disk}; chmod 700 {disk}"
        )
    })
    .await;
    let manager = &scene.manager;
    manager.start(&spin("running")).await.unwrap();
    assert_eq!(scene.answer("before").await, "30");
    let frozen = Frozen::new(scene.disk());
    let refused = scene.answer("hung").await;
    assert!(refused.starts_with("outbox-unavailable: "), "{refused}");
    assert!(refused.contains("does not answer"), "{refused}");
    // What runs can be stopped, and its answer does not wait for the disk.
    manager.stop(&spin("running")).await.unwrap();
    let stopped = manager.result("running").await.unwrap().error.unwrap();
    assert!(stopped.starts_with("stopped: "), "{stopped}");
    scene.daemon.terminate();
    scene.daemon.says("Proplet stopped");
    drop(frozen);
    scene.daemon.ended();
}
