//! The audit log of a daemon that is killed, and of one whose disk is full.

use std::{fs, io::BufReader, os::unix::net::UnixDatagram, path::Path};

use proplet_audit::{
    Entry,
    verify::{Report, Verifier},
};
use proplet_testkit::broker::{Manager, TestBroker};

use crate::machine::{Daemon, add, present, settings, spin, system};

fn verified(folder: &Path) -> (Report, Vec<Entry>) {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| proplet_audit::verify::file_number(name).is_some())
        .collect();
    names.sort();
    let (mut verifier, mut entries) = (Verifier::new(), Vec::new());
    for name in names {
        let file = BufReader::new(fs::File::open(folder.join(&name)).unwrap());
        verifier
            .file(&name, file, |entry| entries.push(entry.clone()))
            .unwrap();
    }
    (verifier.finish(), entries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_a_log_that_holds_and_the_next_boot_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let settings = settings(
        &broker.url(),
        &format!(
            "[outbox]\npath = {:?}\n[audit]\npath = {audit:?}\nrequired = true\n",
            folder.path().join("outbox")
        ),
    );
    let daemon = Daemon::start(&[], folder.path(), &settings);
    present(&manager, 0).await;
    manager.start(&add("before")).await.unwrap();
    manager.result("before").await.unwrap();
    manager.start(&spin("killed")).await.unwrap();
    daemon.says("Executing task killed");
    let times = manager.on("control/proplet/create").len();
    // With SIGKILL.
    drop(daemon);

    let mut daemon = Daemon::start(&[], folder.path(), &settings);
    present(&manager, times).await;
    let outcome = manager.result("killed").await.unwrap();
    assert!(outcome.error.unwrap().starts_with("interrupted: "));
    daemon.terminate();
    daemon.ended();

    let (report, entries) = verified(&audit);
    assert_eq!(report.breaks, []);
    assert_eq!(report.absent, [""; 0]);
    let [first, second] = &report.boots[..] else {
        panic!("{:?}", report.boots)
    };
    // The acceptance was on the disk before it began; its end is nowhere.
    assert!(!first.stopped && first.open_tasks == 1);
    assert!(second.stopped && second.open_tasks == 0);
    let of = |kind: &str, task: &str| {
        let found = entries
            .iter()
            .filter(|entry| entry.kind == kind && entry.task.as_deref() == Some(task));
        found.count()
    };
    assert_eq!(of("task-begun", "killed"), 1);
    assert_eq!(of("task-ended", "killed"), 0);
    assert_eq!(of("task-interrupted", "killed"), 1);
    let earlier = entries.iter().find(|entry| entry.kind == "earlier-log");
    assert_eq!(earlier.unwrap().text("file"), Some("audit-00000001.jsonl"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_daemon_hands_on_is_what_is_in_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, socket) = (folder.path().join("audit"), folder.path().join("log"));
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let receiver = UnixDatagram::bind(&socket).unwrap();
    let reading = std::thread::spawn(move || {
        let (mut kept, mut datagram) = (Vec::new(), vec![0; 1 << 17]);
        loop {
            let length = receiver.recv(&mut datagram).unwrap();
            kept.extend_from_slice(&datagram[..length]);
            kept.push(b'\n');
            if String::from_utf8_lossy(&datagram[..length]).contains("\"kind\":\"stopped\"") {
                return kept;
            }
        }
    });
    let export = |place: &str| {
        let more = format!("[audit]\npath = {audit:?}\nexport = \"syslog\"\nsyslog = {place:?}\n");
        settings(&broker.url(), &more)
    };
    let to_socket = export(&format!("unix:{}", socket.display()));
    let mut daemon = Daemon::start(&[], folder.path(), &to_socket);
    present(&manager, 0).await;
    manager.start(&add("exported")).await.unwrap();
    manager.result("exported").await.unwrap();
    daemon.terminate();
    daemon.ended();
    let kept = reading.join().unwrap();
    let (mut verifier, mut entries) = (Verifier::new(), Vec::new());
    verifier
        .exported("kept", kept.as_slice(), |entry| entries.push(entry.clone()))
        .unwrap();
    let report = verifier.finish();
    assert!(report.is_whole() && report.tasks == 1, "{report:?}");
    assert_eq!(entries, verified(&audit).1);

    // Nobody is there: it works, and ends, all the same.
    let times = manager.on("control/proplet/create").len();
    let mut daemon = Daemon::start(&[], folder.path(), &export("tcp://127.0.0.1:1"));
    daemon.says("the audit log cannot be exported to tcp://127.0.0.1:1");
    present(&manager, times).await;
    manager.start(&add("alone")).await.unwrap();
    assert_eq!(manager.result("alone").await.unwrap().results, "30");
    daemon.terminate();
    daemon.ended();
    let (report, _) = verified(&audit);
    assert!(report.is_whole() && report.tasks == 2, "{report:?}");
}

/// Mounts what a test names, and becomes the daemon.
const ENTER: &str = "set -eu\nmount=$1\nshift\neval \"$mount\"\nexec \"$@\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root; .ci/run runs it"]
async fn nothing_runs_off_record_where_that_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let more = format!(
        "[audit]\npath = {:?}\nrequired = true\n",
        disk.join("audit")
    );
    let mount = format!(
        "mount -t tmpfs -o size=1m,mode=700 none {0}; head -c 2m /dev/zero >{0}/fill || true",
        disk.display()
    );
    let enter = ["unshare", "-m", "sh", "-c", ENTER, "enter", &mount];
    let settings = settings(&broker.url(), &more);
    let mut daemon = Daemon::start(&enter, folder.path(), &settings);
    present(&manager, 0).await;
    manager.start(&add("refused")).await.unwrap();
    let refused = manager.result("refused").await.unwrap().error.unwrap();
    assert!(refused.starts_with("audit-unavailable: "), "{refused}");
    assert!(refused.contains("is full"), "{refused}");

    let inside = std::path::PathBuf::from(format!("/proc/{}/root", daemon.id()));
    let inside = inside.join(disk.strip_prefix("/").unwrap());
    fs::remove_file(inside.join("fill")).unwrap();
    let id = daemon.id().to_string();
    let target = disk.display().to_string();
    system(&[
        "nsenter",
        "-t",
        &id,
        "-m",
        "mount",
        "-o",
        "remount,size=64m",
        &target,
    ]);
    daemon.says("The audit log is written again");
    manager.start(&add("taken")).await.unwrap();
    assert_eq!(manager.result("taken").await.unwrap().results, "30");
    let (report, entries) = verified(&inside.join("audit"));
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.lost, 0);
    let refused = entries
        .iter()
        .find(|entry| entry.kind == "task-ended" && entry.task.as_deref() == Some("refused"));
    assert_eq!(refused.unwrap().code.as_deref(), Some("audit-unavailable"));
    daemon.terminate();
    daemon.ended();
}
