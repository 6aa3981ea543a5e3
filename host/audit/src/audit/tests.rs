use std::{
    fs,
    io::{self, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Condvar, atomic::AtomicU64},
    time::{SystemTime, UNIX_EPOCH},
};

use proplet_jose::jwk::PrivateKey;
use proplet_types::Code;

use super::*;
use crate::{
    disk::{Failure, Found, Log, Tail},
    entry::Entry,
    verify::{Broken, Report, Verifier},
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

#[tokio::test]
async fn what_is_put_on_record_is_in_the_file_and_holds() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(folder(&path))).await;
    audit.record(Event::Readiness {
        refused: Some(Code::NoTee.as_str()),
    });
    let (one, two) = (audit.begin("one"), audit.begin("two"));
    one.record(Event::Accepted { encrypted: true });
    two.record(Event::Accepted { encrypted: false });
    let head = one.record(result("one"));
    two.end(Some("guest-failed"));
    one.end(None);
    audit.record(Event::Stopped);
    audit.flush().await.unwrap();
    let found = files(&path);
    assert_eq!(
        kinds(&found),
        [
            "boot",
            "readiness",
            "task-begun",
            "task-begun",
            "accepted",
            "accepted",
            "result",
            "ended",
            "task-ended",
            "ended",
            "task-ended",
            "stopped"
        ]
    );
    let report = verified(&found, &[head, audit.head(), Digest::of(b"elsewhere")]);
    assert_eq!(report.breaks, []);
    assert_eq!((report.tasks, report.lines, report.files), (2, 12, 1));
    assert_eq!(report.missing, [Digest::of(b"elsewhere")]);
    assert!(!report.is_whole());
    let entry = &report.found[&head].entry;
    assert_eq!(
        (entry.kind.as_str(), entry.task.as_deref()),
        ("result", Some("one"))
    );
    assert_eq!(report.found[&head].place.line, 7);
    let [boot] = &report.boots[..] else {
        panic!("{:?}", report.boots)
    };
    assert_eq!((boot.head, boot.entries), (audit.head(), 7));
    assert!(boot.stopped && !boot.begins_elsewhere && boot.open_tasks == 0);
    assert_eq!(boot.name, audit.boot());
}

#[tokio::test]
async fn a_task_sees_its_own_chain() {
    let audit =
        Audit::in_memory(Arc::new(Ticking::default()), options(Place::Memory).boot).unwrap();
    assert_eq!(audit.health().borrow().state, State::Memory);
    audit.flush().await.unwrap();
    let (one, two) = (audit.begin("one"), audit.begin("two"));
    let before = one.head();
    assert_eq!(one.entries(), (Vec::new(), before));
    two.record(Event::Accepted { encrypted: true });
    assert_eq!(one.head(), before);
    let head = one.record(Event::Accepted { encrypted: true });
    let (lines, now) = one.clone().entries();
    assert_eq!((lines.len(), now), (1, head));
    assert_eq!(
        (one.count(), one.entry(0), one.entry(1)),
        (1, Some(lines[0].clone()), None)
    );
    let entry = Entry::parse(lines[0].as_bytes()).unwrap();
    assert_eq!((entry.prev, entry.hash), (Some(before), head));
    assert_eq!(entry.chain, format!("{}/1", audit.boot()));
    // After its end, nothing is added to it, and nothing is lost.
    one.end(None);
    let (head, boot) = (one.head(), audit.head());
    one.end(Some("stopped"));
    assert_eq!(audit.head(), boot);
    one.record(result("late"));
    assert_eq!(one.head(), head);
    assert_ne!(audit.head(), boot);
}

#[tokio::test]
async fn a_task_that_nobody_ends_is_ended() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(folder(&path))).await;
    let task = audit.begin("lost");
    drop(task.clone());
    task.record(Event::Accepted { encrypted: true });
    drop(task);
    audit.flush().await.unwrap();
    let found = files(&path);
    let last = entries(&found).pop().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.code.as_deref()),
        ("task-ended", Some("abandoned"))
    );
    assert!(verified(&found, &[]).is_whole());
}

#[tokio::test]
async fn addresses_are_sealed_or_left_out() {
    let key = PrivateKey::generate_x25519().unwrap();
    let root = tempfile::tempdir().unwrap();
    let uri: proplet_types::ResourceUri = "kbs:///hospital/data/secret-one".parse().unwrap();
    let event = || Event::Component {
        origin: crate::event::Origin::Encrypted,
        component: Digest::of(b"component"),
        image: None,
        policy: None,
        key: Some("kbs:///hospital/key/k".parse().unwrap()),
        recipients: vec!["thumbprint-of-a-reader".to_owned()],
    };
    for (name, recipients) in [("sealed", vec![key.public().clone()]), ("bare", Vec::new())] {
        let path = root.path().join(name);
        let audit = open(Options {
            sealing: Sealing::to(recipients.clone()),
            ..options(folder(&path))
        })
        .await;
        let task = audit.begin("t");
        task.record(event());
        task.record(Event::Secret {
            uri: uri.clone(),
            refused: None,
        });
        let challenge = Digest::of(b"a guest chose it");
        task.record(Event::WorkloadEvidence {
            challenge,
            refused: None,
        });
        task.end(None);
        audit.flush().await.unwrap();
        let found = files(&path);
        assert!(verified(&found, &[]).is_whole());
        let challenge = challenge.to_string();
        for word in ["hospital", "secret-one", "thumbprint-of", &challenge] {
            assert!(!found[0].1.contains(word), "{word}");
        }
        let opened: Vec<_> = entries(&found)
            .iter()
            .filter_map(|entry| entry.open(&key).unwrap())
            .collect();
        if recipients.is_empty() {
            assert_eq!(opened, []);
            continue;
        }
        assert_eq!(opened.len(), 3);
        assert_eq!(opened[2]["challenge"], challenge);
        assert_eq!(opened[0]["key"], "kbs:///hospital/key/k");
        assert_eq!(opened[0]["recipients"][0], "thumbprint-of-a-reader");
        assert_eq!(opened[1]["address"], uri.to_string());
        let other = PrivateKey::generate_x25519().unwrap();
        let sealed = entries(&found)
            .into_iter()
            .find(|entry| entry.sealed.is_some());
        sealed.unwrap().open(&other).unwrap_err();
    }
}

#[tokio::test]
async fn ids_of_tasks_stay_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(folder(&path))).await;
    let ids = ["a ", " a", "a\u{202e}b", "a\nb", &"\u{e9}".repeat(128)];
    for id in ids {
        audit.begin(id).end(None);
    }
    audit.record(Event::TaskRefused {
        task: format!("{}\u{e9}", "x".repeat(255)),
        code: Code::TaskInvalid,
    });
    audit.flush().await.unwrap();
    let found = files(&path);
    let entries = entries(&found);
    for id in ids {
        let its = entries.iter().filter(|e| e.task.as_deref() == Some(id));
        assert_eq!(its.count(), 3, "{id:?}");
    }
    // No task has a longer one: it was refused.
    let last = entries.last().unwrap().task.as_deref();
    assert_eq!(last, Some("x".repeat(255).as_str()));
    assert!(verified(&found, &[]).is_whole());
}

#[tokio::test]
async fn files_are_turned_over_and_hang_together() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(Place::Folder {
        path: path.clone(),
        max_file_bytes: 2000,
        max_bytes: None,
    }))
    .await;
    let long = audit.begin("long");
    for n in 0..20 {
        let task = audit.begin(&n.to_string());
        task.record(Event::Accepted { encrypted: false });
        long.record(result(&n.to_string()));
        task.end(None);
    }
    long.end(None);
    audit.flush().await.unwrap();
    let found = files(&path);
    assert!(found.len() > 5, "{}", found.len());
    for (name, text) in &found[1..] {
        assert!(text.len() < 3000, "{name}");
        let first = Entry::parse(text.lines().next().unwrap().as_bytes()).unwrap();
        assert_eq!(
            (first.kind.as_str(), first.number("lost")),
            ("file", Some(0))
        );
    }
    let report = verified(&found, &[]);
    assert_eq!((report.breaks, report.tasks), (Vec::new(), 21));
    // Without the first ones it still holds, and says so; without one in between it does not.
    let rest = verified(&found[2..], &[]);
    assert_eq!(rest.breaks, []);
    assert!(rest.boots[0].begins_elsewhere);
    let without = [&found[..2], &found[3..]].concat();
    assert!(matches!(
        verified(&without, &[]).breaks[0].broken,
        Broken::Missing { .. }
    ));
}

#[tokio::test]
async fn the_oldest_files_go_and_the_log_says_so() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let limited = || {
        options(Place::Folder {
            path: path.clone(),
            max_file_bytes: 2000,
            max_bytes: Some(8000),
        })
    };
    let audit = open(limited()).await;
    for n in 0..60 {
        audit.record(Event::TaskInterrupted {
            task: n.to_string(),
        });
        audit.flush().await.unwrap();
    }
    let found = files(&path);
    let bytes: usize = found.iter().map(|(_, text)| text.len()).sum();
    assert!(bytes <= 8000 + 1000, "{bytes}");
    assert_ne!(found[0].0, crate::disk::name(1));
    let report = verified(&found, &[audit.head()]);
    assert!(report.is_whole() && report.boots[0].begins_elsewhere);
    let removed = entries(&found)
        .into_iter()
        .filter(|entry| entry.kind == "file-removed");
    for entry in removed {
        assert!(
            found
                .iter()
                .all(|(name, _)| Some(name.as_str()) != entry.text("file"))
        );
        assert!(entry.number("bytes").unwrap() > 1000);
    }
    assert_eq!(audit.health().borrow().state, State::Good);
}

#[tokio::test]
async fn a_boot_says_how_the_one_before_ended() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let first = open(options(folder(&path))).await;
    let running = first.begin("running");
    running.record(Event::Accepted { encrypted: true });
    first.flush().await.unwrap();
    // As a kill would leave it: the end of the task is not written, and a line is torn.
    let file = path.join(crate::disk::name(1));
    let mut before = fs::read_to_string(&file).unwrap();
    running.end(None);
    drop((running, first));
    before.push_str("{\"chain\":\"to");
    fs::write(&file, &before).unwrap();

    let second = open(options(folder(&path))).await;
    second.record(Event::TaskInterrupted {
        task: "running".to_owned(),
    });
    second.flush().await.unwrap();
    let found = files(&path);
    let report = verified(&found, &[]);
    assert_eq!(report.breaks, []);
    assert_eq!((report.torn.len(), report.torn[0].line), (1, 4));
    assert_eq!(
        (report.boots[0].open_tasks, report.boots[0].stopped),
        (1, false)
    );
    let earlier = &entries(&found[1..])[1];
    assert_eq!(earlier.kind, "earlier-log");
    assert_eq!(earlier.text("file"), Some(found[0].0.as_str()));
    assert_eq!(earlier.about["torn"], true);

    // Whoever cuts more off afterwards is found out, and so is who takes the file away.
    let mut cut = found.clone();
    let whole = cut[0].1.rfind('\n').unwrap();
    let end = cut[0].1[..whole].rfind('\n').unwrap();
    cut[0].1.truncate(end + 1);
    assert!(matches!(
        verified(&cut, &[]).breaks[0].broken,
        Broken::EarlierEnd { .. }
    ));
    assert_eq!(verified(&found[1..], &[]).absent, [found[0].0.clone()]);
    assert_eq!(report.absent, [""; 0]);
}

#[tokio::test]
async fn two_do_not_share_a_folder_and_others_do_not_write_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let first = open(options(folder(&path))).await;
    let (_second, opening) = Audit::open(options(folder(&path))).unwrap();
    let error = opening.done().await.unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    drop(first);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o757)).unwrap();
    let (_third, opening) = Audit::open(options(folder(&path))).unwrap();
    let error = opening.done().await.unwrap_err();
    assert!(matches!(error, OpenError::Shared { .. }), "{error}");
}

/// A disk in memory that fails as it is told.
#[derive(Clone, Default)]
struct Bad(Arc<(Mutex<Told>, Condvar)>);

#[derive(Default)]
struct Told {
    files: Vec<(String, Vec<u8>)>,
    /// So many bytes are taken before the disk is full; what is written beyond is torn.
    room: Option<usize>,
    hangs: bool,
    syncs: usize,
    syncs_fail: bool,
    is_read_only: bool,
}

impl Bad {
    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits while it hangs.
    fn awake(&self) -> MutexGuard<'_, Told> {
        let told = self.0.0.lock().unwrap();
        self.0.1.wait_while(told, |told| told.hangs).unwrap()
    }

    fn texts(&self) -> Vec<(String, String)> {
        let told = self.0.0.lock().unwrap();
        told.files
            .iter()
            .map(|(name, bytes)| (name.clone(), String::from_utf8(bytes.clone()).unwrap()))
            .collect()
    }

    fn audit(&self, patience: Duration) -> (Audit, Opening) {
        let options = Options {
            patience,
            ..options(Place::Folder {
                path: "/nowhere".into(),
                max_file_bytes: u64::MAX,
                max_bytes: None,
            })
        };
        Audit::over(Some(Box::new(self.clone())), options).unwrap()
    }
}

impl Disk for Bad {
    fn open(&mut self) -> Result<(), Failure> {
        match self.awake().is_read_only {
            true => Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem).into()),
            false => Ok(()),
        }
    }

    fn files(&mut self) -> io::Result<Vec<Found>> {
        Ok(Vec::new())
    }

    fn tail(&mut self, _: &str) -> io::Result<Tail> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, name: &str) -> io::Result<Box<dyn Log>> {
        self.awake().files.push((name.to_owned(), Vec::new()));
        Ok(Box::new(BadLog(self.clone(), name.to_owned())))
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

struct BadLog(Bad, String);

impl Log for BadLog {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut told = self.0.awake();
        let room = told.room.unwrap_or(usize::MAX);
        let taken = bytes.len().min(room);
        told.room = told.room.map(|room| room - taken);
        let file = told.files.iter_mut().find(|(name, _)| *name == self.1);
        file.unwrap().1.extend_from_slice(&bytes[..taken]);
        match taken == bytes.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut told = self.0.awake();
        let file = told.files.iter_mut().find(|(name, _)| *name == self.1);
        file.unwrap().1.truncate(bytes.try_into().unwrap());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut told = self.0.awake();
        told.syncs += 1;
        match told.syncs_fail {
            true => Err(io::Error::other("input/output error")),
            false => Ok(()),
        }
    }
}

async fn until(audit: &Audit, is_it: impl Fn(&State) -> bool) -> State {
    let mut health = audit.health();
    let health = health
        .wait_for(|health| is_it(&health.state))
        .await
        .unwrap();
    health.state.clone()
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_tears_nothing() {
    let disk = Bad::default();
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
    audit.flush().await.unwrap();
    disk.tell(|told| told.room = Some(300));
    for n in 0..50 {
        audit.record(Event::TaskInterrupted {
            task: n.to_string(),
        });
    }
    assert_eq!(audit.flush().await, Err(Trouble::Full));
    assert_eq!(audit.health().borrow().state, State::Failing(Trouble::Full));
    // While it rests, nobody waits for it.
    assert_eq!(audit.flush().await, Err(Trouble::Full));
    disk.tell(|told| told.room = None);
    until(&audit, |state| *state == State::Good).await;
    audit.flush().await.unwrap();
    let report = verified(&disk.texts(), &[audit.head()]);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.lines, report.lost, report.torn.len()), (51, 0, 0));
}

#[tokio::test]
async fn what_a_sync_lost_is_written_again() {
    let disk = Bad::default();
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
    disk.tell(|told| told.syncs_fail = true);
    audit.record(Event::Stopped);
    let Err(Trouble::Io(words)) = audit.flush().await else {
        panic!("it was synced")
    };
    assert!(words.contains("input/output"), "{words}");
    // As if the pages had been dropped.
    disk.tell(|told| {
        told.files[0].1.clear();
        told.syncs_fail = false;
    });
    until(&audit, |state| *state == State::Good).await;
    audit.flush().await.unwrap();
    assert_eq!(kinds(&disk.texts()), ["boot", "stopped"]);
}

#[tokio::test]
async fn a_disk_that_hangs_holds_nobody_up() {
    let disk = Bad::default();
    disk.tell(|told| told.hangs = true);
    let (audit, opening) = disk.audit(Duration::ZERO);
    opening.done().await.unwrap();
    assert_eq!(audit.flush().await, Err(Trouble::Hung));
    let task = audit.begin("t");
    let head = task.record(result("r"));
    task.end(None);
    assert_eq!(audit.health().borrow().state, State::Failing(Trouble::Hung));
    disk.tell(|told| told.hangs = false);
    until(&audit, |state| *state == State::Good).await;
    drop((task, audit));
    // The end of the log waits for the thread; not here, with no patience at all.
    let (other, _) = disk.audit(PATIENCE);
    other.flush().await.unwrap();
    let texts = disk.texts();
    assert!(
        texts
            .iter()
            .any(|(_, text)| text.contains(&head.to_string()))
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_opened_is_tried_again() {
    let disk = Bad::default();
    disk.tell(|told| told.is_read_only = true);
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
    let state = audit.health().borrow().state.clone();
    assert!(
        matches!(state, State::Failing(Trouble::ReadOnly(_))),
        "{state:?}"
    );
    disk.tell(|told| told.is_read_only = false);
    until(&audit, |state| *state == State::Good).await;
    audit.flush().await.unwrap();
    assert_eq!(kinds(&disk.texts()), ["boot"]);
}

#[tokio::test]
async fn lines_without_room_are_lost_and_counted() {
    let disk = Bad::default();
    disk.tell(|told| told.hangs = true);
    let (audit, _opening) = disk.audit(PATIENCE);
    let task = audit.begin("long");
    let line = || Event::TaskInterrupted {
        task: "x".repeat(256),
    };
    // Until nothing more may wait, and then some of both chains.
    let mut health = audit.health();
    while health.borrow_and_update().lost == 0 {
        audit.record(line());
    }
    for _ in 0..10 {
        audit.record(line());
        task.record(line());
    }
    let lost_whole = audit.begin("lost");
    lost_whole.record(Event::Accepted { encrypted: false });
    let lost = audit.health().borrow().lost;
    assert_eq!(lost, 23);
    disk.tell(|told| told.hangs = false);
    audit.flush().await.unwrap();
    lost_whole.record(result("after"));
    task.end(None);
    lost_whole.end(None);
    audit.flush().await.unwrap();
    let texts = disk.texts();
    assert_eq!(texts.len(), 2);
    let report = verified(&texts, &[audit.head()]);
    assert!(report.is_whole(), "{:?}", report.breaks);
    assert_eq!(report.lost, lost);
    // Nobody can pass off more as lost than the log says.
    let mut fewer = texts.clone();
    let mut lines: Vec<&str> = texts[1].1.split_inclusive('\n').collect();
    lines.remove(1);
    fewer[1].1 = lines.concat();
    assert!(!verified(&fewer, &[audit.head()]).is_whole());
    let mut fewer = texts.clone();
    let mut lines: Vec<&str> = texts[0].1.split_inclusive('\n').collect();
    lines.pop();
    fewer[0].1 = lines.concat();
    assert!(!verified(&fewer, &[audit.head()]).is_whole());
}

/// Has it begun, as if it were a task.
async fn begun<T>(waiting: &mut (impl Future<Output = T> + Unpin)) {
    std::future::poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut *waiting).poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn those_who_wait_share_a_sync() {
    let disk = Bad::default();
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
    audit.flush().await.unwrap();
    let before = disk.0.0.lock().unwrap().syncs;
    disk.tell(|told| told.hangs = true);
    let (mut waiting, mut tasks) = (Vec::new(), Vec::new());
    for n in 0..50 {
        let task = audit.begin(&n.to_string());
        task.record(Event::Accepted { encrypted: true });
        let mut flush = Box::pin(audit.flush());
        begun(&mut flush).await;
        waiting.push(flush);
        tasks.push(task);
    }
    disk.tell(|told| told.hangs = false);
    for flush in waiting {
        flush.await.unwrap();
    }
    let syncs = disk.0.0.lock().unwrap().syncs - before;
    assert!((1..=2).contains(&syncs), "{syncs}");
    let kinds = kinds(&disk.texts());
    let accepted = kinds.iter().filter(|kind| *kind == "accepted");
    assert_eq!(accepted.count(), 50);
}

#[tokio::test]
async fn all_who_wait_for_a_sync_that_fails_are_told() {
    let disk = Bad::default();
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
    audit.flush().await.unwrap();
    disk.tell(|told| (told.hangs, told.syncs_fail) = (true, true));
    let mut waiting = Vec::new();
    for n in 0..3 {
        let task = audit.begin(&n.to_string());
        let mut flush = Box::pin(audit.flush());
        begun(&mut flush).await;
        waiting.push((flush, task));
    }
    disk.tell(|told| told.hangs = false);
    for (flush, _task) in waiting {
        assert!(matches!(flush.await, Err(Trouble::Io(_))));
    }
}

#[tokio::test]
async fn who_waits_for_lines_without_room_is_told() {
    let disk = Bad::default();
    disk.tell(|told| told.hangs = true);
    let (audit, _opening) = disk.audit(PATIENCE);
    let task = "x".repeat(256);
    while audit.lost_so_far() == 0 {
        audit.record(Event::TaskInterrupted { task: task.clone() });
    }
    let lost = audit.lost_so_far();
    let accepted = audit.begin("t");
    accepted.record(Event::Accepted { encrypted: true });
    disk.tell(|told| told.hangs = false);
    assert_eq!(audit.flush_whole(lost).await, Err(Trouble::Lost));
    assert_eq!(audit.flush().await, Ok(()));
    // What is lost before is another's.
    let lost = audit.lost_so_far();
    let _next = audit.begin("u");
    assert_eq!(audit.flush_whole(lost).await, Ok(()));
    let texts = disk.texts();
    let of = |id: &str| texts.iter().any(|(_, text)| text.contains(id));
    assert!(!of("\"t\"") && of("\"u\""));
}
