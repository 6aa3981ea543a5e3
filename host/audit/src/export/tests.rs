use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proplet_jose::jwk::PrivateKey;
use proplet_types::{Clock, Digest, SystemClock};
use tokio::{net::TcpSocket, sync::watch};

use super::{
    journald::tests::read,
    thread::{Exporter, Pace},
    *,
};
use crate::{
    Audit, Boot, Event, Health, MAX_LINE_BYTES, Options, Place, Sealing, State,
    core::{Core, FORMAT},
    event::Parts,
    verify::{Broken, Report, Verifier},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing but receivers is waited for.
const SWIFT: Pace = Pace {
    wake: Duration::from_millis(1),
    hung: Duration::from_millis(20),
    gone: PATIENCE,
    rest: (Duration::from_millis(1), Duration::from_millis(5)),
};

/// A log with tasks and something sealed, from its beginning to its end. Gives the head of a result.
async fn log(folder: &Path, export: Export) -> Digest {
    let key = PrivateKey::generate_x25519().unwrap();
    let (audit, opening) = Audit::open(Options {
        place: Place::Folder {
            path: folder.to_owned(),
            max_file_bytes: 2000,
            max_bytes: None,
        },
        sealing: Sealing::to(vec![key.public().clone()]),
        clock: Arc::new(SystemClock),
        patience: PATIENCE,
        export: Some(export),
        boot: Boot {
            version: "1.2.3".to_owned(),
            settings: Digest::of(b"settings"),
        },
    })
    .unwrap();
    opening.done().await.unwrap();
    let task = audit.begin("a\nb=\u{e9}");
    task.record(Event::Secret {
        uri: "kbs:///hospital/data/secret-one".parse().unwrap(),
        refused: Some("kbs-denied"),
    });
    let head = task.record(Event::Result {
        digest: Digest::of(b"result"),
        sequence: 1,
        completed: true,
    });
    for n in 0..10 {
        audit.begin(&n.to_string()).end(None);
    }
    task.end(None);
    audit.record(Event::Stopped);
    audit.flush().await.unwrap();
    audit.flush_export().await.unwrap();
    assert_eq!(audit.health().borrow().export, Some(Exported::default()));
    head
}

/// The lines in a folder, in their order.
fn lines_in(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    files.sort();
    let lines = files.iter().flat_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines.collect()
}

fn verified(lines: &[String], heads: &[Digest]) -> Report {
    let mut verifier = Verifier::new();
    for head in heads {
        verifier.look_for(*head);
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    verifier.file("export", text.as_bytes(), |_| {}).unwrap();
    verifier.finish()
}

/// What is exported, is what is in the files, and verifies by itself.
fn is_the_log(lines: &[String], folder: &Path, head: Digest) {
    assert_eq!(lines, lines_in(folder));
    assert!(lines.len() > 25, "{}", lines.len());
    assert!(!lines.concat().contains("hospital"));
    assert!(lines.iter().any(|line| line.contains("\"sealed\":{")));
    let report = verified(lines, &[head]);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.found[&head].entry.kind, "result");
    // And not without one of them.
    let fewer = [&lines[..5], &lines[6..]].concat();
    assert!(!verified(&fewer, &[]).is_whole());
}

fn datagram(receive: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> Vec<u8> {
    let mut datagram = vec![0; 1 << 20];
    let length = receive(&mut datagram).unwrap();
    datagram.truncate(length);
    datagram
}

fn message(frame: &str) -> String {
    frame[frame.find(" {").unwrap() + 1..].to_owned()
}

/// Reads frames as RFC 6587 counts them.
struct Frames(BufReader<TcpStream>);

impl Frames {
    fn accept(listener: &TcpListener) -> Self {
        Self(BufReader::new(listener.accept().unwrap().0))
    }

    fn next(&mut self) -> String {
        let mut length = Vec::new();
        self.0.read_until(b' ', &mut length).unwrap();
        let length = String::from_utf8(length).unwrap();
        let mut frame = vec![0; length.trim_end().parse().unwrap()];
        self.0.read_exact(&mut frame).unwrap();
        String::from_utf8(frame).unwrap()
    }
}

fn listen() -> (TcpListener, Export) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = "localhost".to_owned();
    (listener, Export::Syslog(Syslog::Tcp { host, port }))
}

/// Reads with this until the log ends.
fn until_the_end(mut next: impl FnMut() -> String) -> Vec<String> {
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.contains("\"kind\":\"stopped\""))
    {
        lines.push(next());
    }
    lines
}

#[tokio::test]
async fn journald_gets_the_lines_and_their_fields() {
    let root = tempfile::tempdir().unwrap();
    let (socket, folder) = (root.path().join("socket"), root.path().join("audit"));
    let journald = UnixDatagram::bind(&socket).unwrap();
    let reading = std::thread::spawn(move || {
        let mut number = 0;
        until_the_end(|| {
            let fields = read(&datagram(|bytes| journald.recv(bytes)));
            let line = fields["MESSAGE"].clone();
            let entry = crate::Entry::parse(line.as_bytes()).unwrap();
            assert_eq!(fields["PROPLET_AUDIT_NUMBER"], number.to_string());
            assert_eq!(fields["PROPLET_AUDIT_KIND"], entry.kind);
            assert_eq!(fields["PROPLET_AUDIT_CHAIN"], entry.chain);
            assert_eq!(fields["PROPLET_AUDIT_SEQUENCE"], entry.seq.to_string());
            assert!(entry.chain.starts_with(&fields["PROPLET_AUDIT_BOOT"]));
            assert_eq!(fields.get("PROPLET_AUDIT_TASK"), entry.task.as_ref());
            assert_eq!(fields.get("PROPLET_AUDIT_CODE"), entry.code.as_ref());
            number += 1;
            line
        })
    });
    let head = log(&folder, Export::Journald(socket)).await;
    is_the_log(&reading.join().unwrap(), &folder, head);
}

#[tokio::test]
async fn a_socket_of_this_machine_gets_what_syslog_3_sends() {
    let root = tempfile::tempdir().unwrap();
    let (socket, folder) = (root.path().join("socket"), root.path().join("audit"));
    let receiver = UnixDatagram::bind(&socket).unwrap();
    let tag = format!(" proplet-audit[{}]: {{", std::process::id());
    let reading = std::thread::spawn(move || {
        until_the_end(|| {
            let frame = String::from_utf8(datagram(|bytes| receiver.recv(bytes))).unwrap();
            assert!(frame.starts_with("<8") && frame.contains(&tag), "{frame}");
            message(&frame)
        })
    });
    let head = log(&folder, Export::Syslog(Syslog::Unix(socket))).await;
    is_the_log(&reading.join().unwrap(), &folder, head);
}

#[tokio::test]
async fn hosts_get_frames_over_tcp_and_over_udp() {
    let root = tempfile::tempdir().unwrap();
    let is_next = |frame: &str, number: u64| {
        let about = format!(" [meta sequenceId=\"{number}\"] {{");
        assert!(frame.contains(&about), "{frame}");
    };
    let (listener, export) = listen();
    let folder = root.path().join("tcp");
    let reading = std::thread::spawn(move || {
        let mut frames = Frames::accept(&listener);
        let mut number = 0;
        until_the_end(|| {
            let frame = frames.next();
            number += 1;
            is_next(&frame, number);
            message(&frame)
        })
    });
    let head = log(&folder, export).await;
    is_the_log(&reading.join().unwrap(), &folder, head);

    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = receiver.local_addr().unwrap().port();
    let host = "127.0.0.1".to_owned();
    let folder = root.path().join("udp");
    let head = log(&folder, Export::Syslog(Syslog::Udp { host, port })).await;
    let mut number = 0;
    let lines = until_the_end(|| {
        let frame = String::from_utf8(datagram(|bytes| receiver.recv(bytes))).unwrap();
        number += 1;
        is_next(&frame, number);
        message(&frame)
    });
    is_the_log(&lines, &folder, head);
}

/// All lines are of one moment, so that their lengths can be told.
struct Still;

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }
}

/// An export by itself, of a boot's chain.
struct Scene {
    exporter: Exporter,
    core: Core,
    health: watch::Receiver<Health>,
}

impl Scene {
    fn new(export: Export, max_bytes: usize) -> Self {
        let (sender, health) = watch::channel(Health {
            state: State::Memory,
            lost: 0,
            export: Some(Exported::default()),
        });
        let sender = Arc::new(sender);
        let clock = Arc::new(Still);
        let exporter = Exporter::at(SWIFT, max_bytes, export, "b", clock, sender).unwrap();
        let core = Core::new("b".to_owned(), u64::MAX, Some(exporter.queue()));
        let mut scene = Self {
            exporter,
            core,
            health,
        };
        scene.put(&Parts::new("boot").about("format", FORMAT));
        scene
    }

    fn put(&mut self, parts: &Parts) {
        let _ = self.core.record(parts, None, &Still, true, &mut |_| {});
    }

    /// Puts a line of about so many bytes.
    fn large(&mut self, bytes: usize) {
        let parts = Parts::new("large").about("text", "x".repeat(bytes));
        self.put(&parts);
    }

    async fn flush(&self) -> Result<(), ExportTrouble> {
        self.exporter.flush(self.health.clone(), PATIENCE).await
    }

    async fn until(&mut self, word: Option<&str>) {
        let is_it = |health: &Health| {
            let trouble = health.export.as_ref().unwrap().trouble.as_ref();
            trouble.map(ExportTrouble::word) == word
        };
        let _ = self.health.wait_for(is_it).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_not_there_yet_misses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("socket");
    let mut scene = Scene::new(Export::Journald(socket.clone()), 1 << 20);
    scene.put(&Parts::new("one"));
    scene.until(Some("unreachable")).await;
    let error = scene.flush().await.unwrap_err().to_string();
    assert!(
        error.contains("socket") && error.contains("[audit] export"),
        "{error}"
    );
    let journald = UnixDatagram::bind(&socket).unwrap();
    scene.put(&Parts::new("stopped"));
    let lines = until_the_end(|| read(&datagram(|bytes| journald.recv(bytes)))["MESSAGE"].clone());
    assert_eq!(lines.len(), 3);
    assert!(verified(&lines, &[]).is_whole());
    scene.until(None).await;
    scene.flush().await.unwrap();
    assert_eq!(scene.core.missed(), 0);
}

#[tokio::test]
async fn who_is_started_anew_misses_nothing_that_comes_then() {
    let (listener, export) = listen();
    let mut scene = Scene::new(export, 1 << 20);
    let mut frames = Frames::accept(&listener);
    let mut lines = vec![message(&frames.next())];
    for _ in 0..3 {
        drop(frames);
        scene.put(&Parts::new("one"));
        scene.put(&Parts::new("two"));
        frames = Frames::accept(&listener);
        lines.extend([(); 2].map(|()| message(&frames.next())));
    }
    // Nobody listens for a while, and nobody else is given the port.
    let address = listener.local_addr().unwrap();
    drop((frames, listener));
    let silent = TcpSocket::new_v4().unwrap();
    silent.set_reuseaddr(true).unwrap();
    silent.bind(address).unwrap();
    scene.put(&Parts::new("alone"));
    scene.until(Some("unreachable")).await;
    scene.put(&Parts::new("stopped"));
    let listener = silent.listen(8).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    let mut frames = Frames::accept(&listener);
    lines.extend(until_the_end(|| message(&frames.next())));
    scene.until(None).await;
    let report = verified(&lines, &[]);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.lines, scene.core.missed()), (9, 0));
}

#[tokio::test]
async fn what_a_stalled_receiver_misses_is_said_where_it_is_missing() {
    let (listener, export) = listen();
    let mut scene = Scene::new(export, 1 << 20);
    let mut frames = Frames::accept(&listener);
    // How much the kernel takes is its own affair.
    let error = loop {
        scene.large(32 * 1024);
        if let Err(error) = scene.flush().await {
            break error;
        }
    };
    assert!(error.to_string().contains("hangs"), "{error}");
    assert_eq!(scene.core.missed(), 0);
    while scene.core.missed() < 5 {
        scene.large(32 * 1024);
    }
    let missed = scene.core.missed();
    let (mut lines, mut gaps) = (Vec::new(), Vec::new());
    let mut stopped = false;
    while !stopped {
        let frame = frames.next();
        if frame.contains(" proplet-audit-export ") {
            gaps.push((lines.len() as u64, frame));
            // All the room is free by now.
            scene.put(&Parts::new("stopped"));
        } else {
            stopped = frame.contains("\"kind\":\"stopped\"");
            lines.push(message(&frame));
        }
    }
    scene.until(None).await;
    let [(first, gap)] = &gaps[..] else {
        panic!("{gaps:?}")
    };
    let last = first + missed - 1;
    let words = format!(
        "{missed} entries of the audit log were not exported, lines {first} to {last} of boot b: "
    );
    assert!(gap.starts_with("<84>1 ") && gap.contains(&words), "{gap}");
    let report = verified(&lines, &[]);
    let [only] = &report.breaks[..] else {
        panic!("{:?}", report.breaks)
    };
    assert_eq!(
        only.broken,
        Broken::Missing {
            chain: "b".to_owned(),
            from: *first,
            to: last
        }
    );
}

#[tokio::test]
async fn the_longest_line_fits_and_what_would_not_is_said() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("socket");
    let journald = UnixDatagram::bind(&socket).unwrap();
    let mut scene = Scene::new(Export::Journald(socket), 1 << 24);
    let next = || read(&datagram(|bytes| journald.recv(bytes)));
    assert_eq!(next()["PROPLET_AUDIT_KIND"], "boot");
    let task = "\n".repeat(256);
    let parts = |bytes: usize| {
        Parts::new("large")
            .task(&task)
            .about("text", "x".repeat(bytes))
    };
    scene.put(&parts(MAX_LINE_BYTES));
    let rest = next()["MESSAGE"].len() - MAX_LINE_BYTES;
    scene.put(&parts(MAX_LINE_BYTES - rest));
    let longest = next();
    assert_eq!(longest["MESSAGE"].len(), MAX_LINE_BYTES);
    assert_eq!(longest["PROPLET_AUDIT_TASK"], task);
    crate::Entry::parse(longest["MESSAGE"].as_bytes()).unwrap();

    // No line is so large, and no datagram of this machine's.
    scene.put(&parts(8 << 20));
    scene.put(&Parts::new("next"));
    let gap = next();
    assert_eq!(gap["SYSLOG_IDENTIFIER"], "proplet-audit-export");
    assert_eq!(gap["PROPLET_AUDIT_FIRST"], "3");
    assert_eq!(gap["PROPLET_AUDIT_LAST"], "3");
    assert_eq!(next()["PROPLET_AUDIT_NUMBER"], "4");
    assert_eq!(scene.core.missed(), 1);
    // Said a moment after the datagram has left.
    scene.until(None).await;
    assert_eq!(scene.health.borrow().export.as_ref().unwrap().missed, 1);
}

#[tokio::test]
async fn who_ends_the_log_waits_for_no_receiver() {
    let root = tempfile::tempdir().unwrap();
    let mut absent = Scene::new(Export::Journald(root.path().join("none")), 1 << 20);
    absent.put(&Parts::new("stopped"));
    let queue = absent.exporter.queue();
    drop(absent);
    assert_eq!(queue.left(), 1);

    let (listener, export) = listen();
    let mut stalled = Scene::new(export, 1 << 20);
    let _frames = Frames::accept(&listener);
    while stalled.flush().await.is_ok() {
        stalled.large(32 * 1024);
    }
    stalled.large(32 * 1024);
    let queue = stalled.exporter.queue();
    drop(stalled);
    assert!(queue.left() > 0);

    // And whoever takes them gets them all.
    let (listener, export) = listen();
    let mut good = Scene::new(export, 1 << 20);
    let mut frames = Frames::accept(&listener);
    for _ in 0..100 {
        good.put(&Parts::new("line"));
    }
    good.put(&Parts::new("stopped"));
    let queue = good.exporter.queue();
    drop(good);
    assert_eq!(queue.left(), 0);
    let lines = until_the_end(|| message(&frames.next()));
    assert_eq!(verified(&lines, &[]).lines, 102);
}

/// Whoever gets the lines may be better off than the disk.
#[test]
fn lines_that_the_disk_loses_are_exported() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("socket");
    let receiver = UnixDatagram::bind(&socket).unwrap();
    let mut scene = Scene::new(Export::Syslog(Syslog::Unix(socket)), 1 << 20);
    let lost = Parts::new("lost");
    let to_disk = &mut |_| panic!("there is no room");
    let _ = scene.core.record(&lost, None, &Still, false, to_disk);
    assert_eq!(scene.core.lost_in_all, 1);
    scene.put(&Parts::new("stopped"));
    let lines = until_the_end(|| {
        let frame = datagram(|bytes| receiver.recv(bytes));
        message(&String::from_utf8(frame).unwrap())
    });
    // The line that says that one is missing comes too.
    assert_eq!(lines.len(), 4);
    assert!(verified(&lines, &[]).is_whole());
}
