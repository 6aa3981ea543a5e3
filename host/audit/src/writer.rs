//! The thread that writes.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use proplet_disk::Busy;
use proplet_types::Clock;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    core::Core,
    disk::{Disk, Failure, Log, OpenError, Tail, name},
    entry::MAX_LINE_BYTES,
    event::Parts,
    health::{Health, State, Trouble},
};

/// So many bytes of lines may wait for the disk.
const MAX_WAITING: usize = 16 * 1024 * 1024;
/// So many bytes are written at once.
const MAX_GROUP: usize = 256 * 1024;
/// The file is synced when so many bytes were written since, or when this time has passed.
const SYNC: (usize, Duration) = (1024 * 1024, Duration::from_millis(100));
/// How long a disk that failed rests before it is tried again, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// What the thread is asked to do.
pub(crate) enum Order {
    /// Write a line.
    Line(String),
    /// Begin a file with a line.
    NewFile(String),
    /// Write a line, and once it is on the disk remove a file.
    Remove { line: String, file: String },
    /// Tell when everything before is on the disk.
    Flush(oneshot::Sender<Result<(), Trouble>>),
}

impl Order {
    fn bytes(&self) -> usize {
        match self {
            Self::Line(line) | Self::NewFile(line) | Self::Remove { line, .. } => line.len(),
            Self::Flush(_) => 0,
        }
    }
}

/// What the thread works with.
pub(crate) struct Setup {
    pub disk: Box<dyn Disk>,
    pub core: Arc<Mutex<Core>>,
    pub clock: Arc<dyn Clock>,
    pub health: Arc<watch::Sender<Health>>,
    /// What is kept beside the file that is written; everything without it.
    pub keep: Option<Keep>,
}

/// How much is kept of the files that are done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// All of them together.
    pub bytes: u64,
    /// A file is done when it has so many.
    pub max_file_bytes: u64,
}

impl Keep {
    /// What a file counts. The line that made it full stands in it, so each is a little longer than it may be; counted in
    /// full, those would leave room for one file less than fit.
    fn counts(self, bytes: u64) -> u64 {
        let is_last_line = bytes.saturating_sub(self.max_file_bytes) <= MAX_LINE_BYTES as u64;
        match is_last_line {
            true => bytes.min(self.max_file_bytes),
            false => bytes,
        }
    }
}

/// The thread. Dropping this ends it once everything is written, or after a while: then it is left to itself.
pub(crate) struct Writer {
    sender: Option<Sender<Order>>,
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    ended: Mutex<Receiver<()>>,
    patience: Duration,
    pub(crate) busy: Busy,
}

impl Writer {
    /// Starts the thread, which opens the folder first.
    pub(crate) fn start(
        setup: Setup,
        patience: Duration,
        first: Order,
        opened: oneshot::Sender<Result<(), OpenError>>,
    ) -> io::Result<Self> {
        let Setup {
            disk,
            core,
            clock,
            health,
            keep,
        } = setup;
        let (sender, orders) = channel();
        let (alive, ended) = channel::<()>();
        let (busy, waiting) = (Busy::default(), Arc::new(AtomicUsize::new(first.bytes())));
        // From now on, whatever the thread does first.
        busy.begin();
        let work = Work {
            disk,
            core,
            clock,
            health,
            keep,
            orders,
            pending: VecDeque::from([first]),
            waiting: Arc::clone(&waiting),
            busy: busy.clone(),
            is_open: false,
            next_file: 1,
            log: None,
            current: String::new(),
            synced: 0,
            unsynced: Vec::new(),
            is_damaged: false,
            sync_at: None,
            retry_at: None,
            rest: RETRY.0,
            leaving: BTreeSet::new(),
            flushing: Vec::new(),
        };
        let thread = Builder::new().name("audit".to_owned()).spawn(move || {
            let _alive = alive;
            work.run(opened);
        })?;
        Ok(Self {
            sender: Some(sender),
            waiting,
            thread: Some(thread),
            ended: Mutex::new(ended),
            patience,
            busy,
        })
    }

    /// Whether another line may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < MAX_WAITING
    }

    /// The thread ends only with this; if it broke down, whoever waits is told.
    pub(crate) fn send(&self, order: Order) {
        self.waiting.fetch_add(order.bytes(), Ordering::Relaxed);
        if let Some(sender) = &self.sender {
            let _ = sender.send(order);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
            error!(
                "The disk of the audit log does not answer; what is not on it by now is not written"
            );
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("The audit log broke down; report it with the proplet's log");
        }
    }
}

struct Work {
    disk: Box<dyn Disk>,
    core: Arc<Mutex<Core>>,
    clock: Arc<dyn Clock>,
    health: Arc<watch::Sender<Health>>,
    keep: Option<Keep>,
    orders: Receiver<Order>,
    /// What was taken from there and not done.
    pending: VecDeque<Order>,
    /// Bytes of all that.
    waiting: Arc<AtomicUsize>,
    busy: Busy,
    is_open: bool,
    next_file: u64,
    log: Option<Box<dyn Log>>,
    /// Name of that file.
    current: String,
    /// Bytes of it that are surely on the disk.
    synced: u64,
    /// What stands behind those, or should.
    unsynced: Vec<u8>,
    /// Whether it is not known what stands behind those.
    is_damaged: bool,
    sync_at: Option<Instant>,
    retry_at: Option<Instant>,
    rest: Duration,
    /// Files that the log says are removed.
    leaving: BTreeSet<String>,
    /// Who waits for the next sync.
    flushing: Vec<oneshot::Sender<Result<(), Trouble>>>,
}

impl Work {
    fn run(mut self, opened: oneshot::Sender<Result<(), OpenError>>) {
        let first = self.open();
        self.busy.end();
        match first {
            Ok(()) => drop(opened.send(Ok(()))),
            Err(Failure::Trouble(trouble)) => {
                self.failed(&trouble);
                let _ = opened.send(Ok(()));
            }
            Err(Failure::Fatal(fatal)) => {
                let trouble = Trouble::Io(fatal.to_string());
                self.failed(&trouble);
                if let Err(Err(fatal)) = opened.send(Err(fatal)) {
                    error!("{fatal}");
                }
            }
        }
        loop {
            // A disk that rests is not synced either.
            let next = match self.retry_at.or(self.sync_at) {
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    self.orders.recv_timeout(left)
                }
                None => self
                    .orders
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            let is_last = matches!(next, Err(RecvTimeoutError::Disconnected));
            self.pending.extend(next);
            self.pending.extend(self.orders.try_iter());
            self.attend(is_last);
            if is_last {
                let left = self
                    .pending
                    .iter()
                    .filter(|order| order.bytes() > 0)
                    .count();
                if left > 0 || self.is_damaged {
                    warn!("The proplet ends, and not everything is in the audit log on the disk");
                }
                return;
            }
        }
    }

    /// Does what there is to do, unless the disk rests.
    fn attend(&mut self, is_last: bool) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|due| due > now) && !is_last {
            return self.refuse_flushes();
        }
        self.busy.begin();
        let done = self.write(is_last);
        self.busy.end();
        match done {
            Ok(()) => {
                self.rest = RETRY.0;
                if self.retry_at.take().is_some() {
                    info!("The audit log is written again");
                }
                self.publish(State::Good);
            }
            Err(trouble) => {
                self.failed(&trouble);
                self.refuse_flushes();
            }
        }
    }

    fn failed(&mut self, trouble: &Trouble) {
        if self.retry_at.is_none() {
            error!("{trouble}");
        }
        self.retry_at = Some(Instant::now() + self.rest);
        self.rest = (self.rest * 2).min(RETRY.1);
        self.publish(State::Failing(trouble.clone()));
    }

    fn publish(&self, state: State) {
        self.health.send_if_modified(|health| {
            let is_news = health.state != state;
            health.state = state;
            is_news
        });
    }

    /// Tells those who wait that it does not work now.
    fn refuse_flushes(&mut self) {
        let State::Failing(trouble) = self.health.borrow().state.clone() else {
            return;
        };
        // Who waits already, waits for what failed.
        self.pending.extend(self.orders.try_iter());
        let (flushes, rest): (Vec<_>, _) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|order| matches!(order, Order::Flush(_)));
        self.pending = rest.into();
        let flushes = flushes.into_iter().filter_map(|order| match order {
            Order::Flush(waiting) => Some(waiting),
            _ => None,
        });
        for waiting in self.flushing.drain(..).chain(flushes) {
            let _ = waiting.send(Err(trouble.clone()));
        }
    }

    /// Opens the folder, and puts on record how the log before ended.
    fn open(&mut self) -> Result<(), Failure> {
        if self.is_open {
            return Ok(());
        }
        self.disk.open()?;
        let files = self.disk.files()?;
        if let Some(last) = files.last() {
            let Tail { head, torn } = self.disk.tail(&last.name)?;
            self.next_file = last.number.saturating_add(1);
            let earlier = Parts::new("earlier-log")
                .word("file", &last.name)
                .digest("head", head)
                .about("torn", torn);
            self.record(&earlier, Order::Line);
        }
        self.is_open = true;
        Ok(())
    }

    /// Puts an entry of the thread's own into the boot's chain, behind all that was ordered before.
    fn record(&mut self, parts: &Parts, order: impl FnOnce(String) -> Order) {
        let core = Arc::clone(&self.core);
        let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
        // Others order with this lock held, so what they ordered is there.
        self.pending.extend(self.orders.try_iter());
        let mut made = Vec::new();
        core.record(parts, None, &*self.clock, true, &mut |order| {
            made.push(order)
        });
        drop(core);
        let last = made.pop();
        let last = last.map(|last| match last {
            Order::Line(line) => order(line),
            other => other,
        });
        for order in made.into_iter().chain(last) {
            self.waiting.fetch_add(order.bytes(), Ordering::Relaxed);
            self.pending.push_back(order);
        }
    }

    fn write(&mut self, is_last: bool) -> Result<(), Trouble> {
        self.open().map_err(|failure| match failure {
            Failure::Trouble(trouble) => trouble,
            Failure::Fatal(fatal) => Trouble::Io(fatal.to_string()),
        })?;
        self.write_all(is_last)
            .map_err(|error| Trouble::from(&error))
    }

    fn write_all(&mut self, is_last: bool) -> io::Result<()> {
        self.mend()?;
        while let Some(order) = self.pending.front() {
            match order {
                Order::Line(_) if self.log.is_some() => {
                    let lines = self.group();
                    self.append(lines)?;
                }
                // The first line of a boot begins its first file.
                Order::Line(_) | Order::NewFile(_) => self.turn()?,
                Order::Remove { .. } => self.remove()?,
                Order::Flush(_) => self.flush()?,
            }
            // The disk answered.
            self.busy.begin();
        }
        let is_due = self.sync_at.is_some_and(|due| due <= Instant::now());
        if is_due || is_last || self.unsynced.len() >= SYNC.0 {
            self.sync()?;
        }
        Ok(())
    }

    /// Syncs for whoever waits, once for all: not before the last of them has what it waits for written, unless that is
    /// much.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(Order::Flush(waiting)) = self.pending.pop_front() {
            self.flushing.push(waiting);
        }
        let is_last = !self
            .pending
            .iter()
            .any(|order| matches!(order, Order::Flush(_)));
        if is_last || self.unsynced.len() >= SYNC.0 {
            self.sync()?;
            for waiting in self.flushing.drain(..) {
                let _ = waiting.send(Ok(()));
            }
        }
        Ok(())
    }

    /// Takes the lines that come next, as many as are written at once.
    fn group(&mut self) -> Vec<u8> {
        let mut lines = Vec::new();
        while let Some(Order::Line(line)) = self.pending.front() {
            if !lines.is_empty() && lines.len() + line.len() > MAX_GROUP {
                break;
            }
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
            self.done();
        }
        lines
    }

    /// Takes the order that comes first off.
    fn done(&mut self) -> Option<Order> {
        let order = self.pending.pop_front()?;
        self.waiting.fetch_sub(order.bytes(), Ordering::Relaxed);
        Some(order)
    }

    /// Writes lines. If that fails they are written again: they stand in what is not synced.
    fn append(&mut self, lines: Vec<u8>) -> io::Result<()> {
        let Some(log) = &mut self.log else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.unsynced.extend_from_slice(&lines);
        self.sync_at.get_or_insert_with(|| Instant::now() + SYNC.1);
        let written = log.append(&lines);
        self.is_damaged |= written.is_err();
        written
    }

    fn sync(&mut self) -> io::Result<()> {
        self.mend()?;
        if let Some(log) = &mut self.log
            && !self.unsynced.is_empty()
        {
            // What a sync that failed leaves on the disk is not known.
            let synced = log.sync();
            self.is_damaged |= synced.is_err();
            synced?;
            if log.is_removed()? {
                return Err(self.removed());
            }
            self.synced = self.synced.saturating_add(self.unsynced.len() as u64);
            self.unsynced.clear();
        }
        self.sync_at = None;
        Ok(())
    }

    /// Gives up a file that somebody removed: what stood in it is gone, and what comes next begins another one. Whoever
    /// waited for lines of it is told that they are not on record.
    fn removed(&mut self) -> io::Error {
        let file = std::mem::take(&mut self.current);
        // The first line of the next file is one of these, and there is none to write it in before.
        self.keep_files();
        self.log = None;
        self.synced = 0;
        self.unsynced.clear();
        self.sync_at = None;
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("somebody removed {file}, with all that stood in it"),
        )
    }

    /// Writes what is not synced once more, where it is not known to be there.
    fn mend(&mut self) -> io::Result<()> {
        if let Some(log) = &mut self.log
            && self.is_damaged
        {
            log.truncate(self.synced)?;
            log.append(&self.unsynced)?;
            self.is_damaged = false;
        }
        Ok(())
    }

    /// Begins another file, once the one before is whole on the disk.
    fn turn(&mut self) -> io::Result<()> {
        self.sync()?;
        let file = name(self.next_file);
        self.next_file = self.next_file.saturating_add(1);
        self.log = Some(self.disk.create(&file)?);
        self.current = file;
        self.synced = 0;
        if let Some(Order::Line(line) | Order::NewFile(line)) = self.done() {
            self.append([line.as_bytes(), b"\n"].concat())?;
        }
        self.retain()
    }

    /// Orders the removal of the oldest files, when all together are larger than they may be.
    fn retain(&mut self) -> io::Result<()> {
        let Some(keep) = self.keep else {
            return Ok(());
        };
        let mut files = self.disk.files()?;
        files.retain(|file| file.name != self.current && !self.leaving.contains(&file.name));
        let mut bytes: u64 = files.iter().map(|file| keep.counts(file.bytes)).sum();
        for file in files {
            if bytes <= keep.bytes {
                break;
            }
            bytes = bytes.saturating_sub(keep.counts(file.bytes));
            let Tail { head, .. } = self.disk.tail(&file.name)?;
            let removed = Parts::new("file-removed")
                .word("file", &file.name)
                .about("bytes", file.bytes)
                .digest("head", head);
            self.leaving.insert(file.name.clone());
            let file = file.name;
            self.record(&removed, |line| Order::Remove { line, file });
        }
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        let Some(Order::Remove { line, file }) = self.done() else {
            return Ok(());
        };
        // If one of these fails, the line is written with the next try and the file stays until the next of them.
        let written = self.append([line.as_bytes(), b"\n"].concat());
        let removed =
            written
                .and_then(|()| self.sync())
                .and_then(|()| match self.disk.remove(&file) {
                    // Somebody was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    removed => removed,
                });
        self.leaving.remove(&file);
        if removed.is_err() {
            self.keep_files();
        }
        removed
    }

    /// Has the files stay whose removal is ordered: those that are there must be the newest, without a gap. The next file
    /// has them removed, oldest first.
    fn keep_files(&mut self) {
        for order in &mut self.pending {
            if let Order::Remove { line, .. } = order {
                *order = Order::Line(std::mem::take(line));
            }
        }
        self.leaving.clear();
    }
}
