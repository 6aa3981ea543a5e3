//! Disks that fail.

use std::{io, pin::pin, sync::Condvar};

use super::*;
use crate::disk::{Failure, Found, Log, Tail};

/// A disk in memory that fails as it is told.
#[derive(Clone, Default)]
pub(super) struct Bad(pub(super) Arc<(Mutex<Told>, Condvar)>);

#[derive(Default)]
pub(super) struct Told {
    files: Vec<(String, Vec<u8>)>,
    /// So many bytes are taken before the disk is full; what is written beyond is torn.
    room: Option<usize>,
    pub(super) hangs: bool,
    pub(super) syncs: usize,
    pub(super) syncs_fail: bool,
    is_read_only: bool,
    /// Whether what was written before is found, and can be removed.
    lists: bool,
    /// How many removals fail.
    stuck: usize,
    /// The next sync hangs, once there are more files than this.
    hangs_beyond: Option<usize>,
    /// From this file on somebody removes each, once so many were looked for.
    gone_from: Option<usize>,
    spared: usize,
}

impl Bad {
    pub(super) fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits while it hangs.
    fn awake(&self) -> MutexGuard<'_, Told> {
        let told = self.0.0.lock().unwrap();
        self.0.1.wait_while(told, |told| told.hangs).unwrap()
    }

    pub(super) fn texts(&self) -> Vec<(String, String)> {
        let told = self.0.0.lock().unwrap();
        told.files
            .iter()
            .map(|(name, bytes)| (name.clone(), String::from_utf8(bytes.clone()).unwrap()))
            .collect()
    }

    pub(super) fn audit(&self, patience: Duration) -> (Audit, Opening) {
        self.limited(patience, u64::MAX, None)
    }

    fn limited(&self, patience: Duration, each: u64, all: Option<u64>) -> (Audit, Opening) {
        let options = Options {
            patience,
            ..options(Place::Folder {
                path: "/nowhere".into(),
                max_file_bytes: each,
                max_bytes: all,
            })
        };
        Audit::over(Some(Box::new(self.clone())), options).unwrap()
    }

    /// A log of six files, more than it may have and not yet found.
    async fn long(&self) -> Audit {
        let (audit, opening) = self.limited(PATIENCE, 2000, Some(4000));
        opening.done().await.unwrap();
        while self.texts().len() < 6 {
            audit.record(interrupted("x"));
            audit.flush().await.unwrap();
        }
        audit
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
        let told = self.awake();
        let files = told.files.iter().zip(1..).filter(|_| told.lists);
        let found = files.map(|((name, bytes), number)| Found {
            name: name.clone(),
            number,
            bytes: bytes.len() as u64,
        });
        Ok(found.collect())
    }

    fn tail(&mut self, _: &str) -> io::Result<Tail> {
        Ok(Tail {
            head: None,
            torn: false,
        })
    }

    fn create(&mut self, name: &str) -> io::Result<Box<dyn Log>> {
        self.awake().files.push((name.to_owned(), Vec::new()));
        Ok(Box::new(BadLog(self.clone(), name.to_owned())))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut told = self.awake();
        if let Some(less) = told.stuck.checked_sub(1) {
            told.stuck = less;
            return Err(io::Error::other("it is stuck"));
        }
        told.files.retain(|(file, _)| file != name);
        Ok(())
    }
}

fn interrupted(task: &str) -> Event {
    Event::TaskInterrupted {
        task: task.to_owned(),
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
        self.0.tell(|told| {
            if let Some(files) = told.hangs_beyond
                && told.files.len() > files
            {
                (told.hangs, told.hangs_beyond) = (true, None);
            }
        });
        let mut told = self.0.awake();
        told.syncs += 1;
        match told.syncs_fail {
            true => Err(io::Error::other("input/output error")),
            false => Ok(()),
        }
    }

    fn is_removed(&self) -> io::Result<bool> {
        let mut told = self.0.awake();
        let place = told.files.iter().position(|(name, _)| *name == self.1);
        let is_gone = told.gone_from.is_some_and(|from| place >= Some(from));
        let is_spared = is_gone && told.spared > 0;
        told.spared -= usize::from(is_spared);
        Ok(is_gone && !is_spared)
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
    disk.tell(|told| told.syncs_fail = true);
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
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

#[tokio::test]
async fn what_stands_in_a_file_that_was_removed_is_not_on_record() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = super::open(options(folder(&path))).await;
    audit.record(interrupted("before"));
    audit.flush().await.unwrap();
    let trouble = loop {
        for (name, _) in super::files(&path) {
            std::fs::remove_file(path.join(name)).unwrap();
        }
        audit.record(interrupted("while"));
        // The thread may have seen it before, and begun another file since.
        if let Err(trouble) = audit.flush().await {
            break trouble;
        }
    };
    assert!(
        trouble.to_string().contains("somebody removed audit-"),
        "{trouble}"
    );
    until(&audit, |state| *state == State::Good).await;
    audit.record(interrupted("after"));
    audit.flush().await.unwrap();
    let found = super::files(&path);
    assert_eq!(found.len(), 1);
    assert!(found[0].1.contains("after") && !found[0].1.contains("before"));
}

/// What comes of it at once.
async fn asked<T>(waiting: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        done = waiting => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// Writes until the next file is begun, or the disk fails.
async fn write_a_file(disk: &Bad, audit: &Audit) -> Result<(), Trouble> {
    let newest = || disk.texts().pop().unwrap().0;
    let before = newest();
    while newest() == before {
        audit.record(interrupted("y"));
        audit.flush().await?;
    }
    // What the last one had removed.
    audit.flush().await
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_keeps_those_after_it() {
    let disk = Bad::default();
    let audit = disk.long().await;
    let first = disk.texts()[0].0.clone();
    disk.tell(|told| (told.lists, told.stuck) = (true, 1));
    let stuck = write_a_file(&disk, &audit).await.unwrap_err();
    assert!(stuck.to_string().contains("stuck"), "{stuck}");
    until(&audit, |state| *state == State::Good).await;
    assert_eq!(disk.texts().len(), 7);
    assert!(verified(&disk.texts(), &[]).is_whole());
    write_a_file(&disk, &audit).await.unwrap();
    let left = disk.texts();
    assert!(left.len() < 7 && left[0].0 != first);
    assert!(verified(&left, &[]).is_whole());
}

#[tokio::test]
async fn a_file_that_is_removed_while_others_leave_is_told_all_the_same() {
    let disk = Bad::default();
    let audit = disk.long().await;
    while disk.texts().pop().unwrap().1.len() < 2000 {
        audit.record(interrupted("y"));
        audit.flush().await.unwrap();
    }
    let files = disk.texts().len();
    disk.tell(|told| (told.lists, told.hangs, told.hangs_beyond) = (true, true, Some(files)));
    // The first of the next file.
    audit.record(interrupted("y"));
    let (mut first, mut second) = (pin!(audit.flush()), pin!(audit.flush()));
    assert!(asked(&mut first).await.is_none());
    disk.tell(|told| told.hangs = false);
    while !disk.0.0.lock().unwrap().hangs {
        tokio::task::yield_now().await;
    }
    // The first has its sync now, and the removals of others stand between it and the second.
    assert!(asked(&mut second).await.is_none());
    disk.tell(|told| {
        (told.gone_from, told.spared) = (Some(files), 1);
        told.hangs = false;
    });
    first.await.unwrap();
    let trouble = second.await.unwrap_err();
    assert!(
        trouble.to_string().contains("somebody removed audit-"),
        "{trouble}"
    );
    disk.tell(|told| told.gone_from = None);
    until(&audit, |state| *state == State::Good).await;
    // What was not written is not taken for written, also where the end of the file is written again.
    for room in [None, Some(50)] {
        disk.tell(|told| told.room = room);
        audit.record(interrupted("z"));
        assert_eq!(audit.flush().await.is_err(), room.is_some());
        disk.tell(|told| told.room = None);
        until(&audit, |state| *state == State::Good).await;
    }
    audit.flush().await.unwrap();
    let (_, newest) = disk.texts().pop().unwrap();
    assert!(newest.contains("\"z\""), "{newest}");
    let entries = newest.lines().map(|line| Entry::parse(line.as_bytes()));
    let seqs: Vec<_> = entries.map(|entry| entry.unwrap().seq).collect();
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{seqs:?}"
    );
}
