//! The thread that hands lines on.
//!
//! A line that cannot be handed on is tried again, on a new socket each time, after a rest that grows; the lines behind it
//! wait in the queue. A receiver that is connected and takes nothing is waited for, since a frame that is cut off is one
//! that nobody can verify, but not forever: the other end may be gone without a word.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use proplet_types::{Clock, text::short_line};
use tokio::{sync::watch, time::timeout};
use tracing::{error, info, warn};

use super::{
    Export, ExportTrouble,
    form::Form,
    queue::{Item, Missed, Queue},
    sockets::{NotSent, Patience, Socket},
};
use crate::health::Health;

/// So many bytes of lines may wait for the receiver.
const MAX_WAITING: usize = 16 * 1024 * 1024;
/// How long whoever ends the log waits for the receiver.
const AT_END: Duration = Duration::from_secs(2);
/// The longest text of the system that is repeated, in characters.
const MAX_WORDS: usize = 256;

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// A socket that takes nothing is asked again so often.
    pub wake: Duration,
    /// When that counts as trouble.
    pub hung: Duration,
    /// When it is given up, and connected anew.
    pub gone: Duration,
    /// How long a receiver that failed rests, at first and at last. A connection that held for longer than the last
    /// begins with the first again.
    pub rest: (Duration, Duration),
}

const PACE: Pace = Pace {
    wake: Duration::from_millis(200),
    hung: Duration::from_secs(5),
    gone: Duration::from_secs(60),
    rest: (Duration::from_millis(200), Duration::from_secs(10)),
};

/// The thread. Dropping this ends it once everything is handed on, if the receiver takes it soon: else it is left to itself.
#[derive(Debug)]
pub(crate) struct Exporter {
    queue: Arc<Queue>,
    hung: ExportTrouble,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    ended: Mutex<Receiver<()>>,
}

impl Exporter {
    /// Starts it, for the log of a boot.
    pub(crate) fn start(
        export: Export,
        boot: &str,
        clock: Arc<dyn Clock>,
        health: Arc<watch::Sender<Health>>,
    ) -> io::Result<Self> {
        Self::at(PACE, MAX_WAITING, export, boot, clock, health)
    }

    pub(super) fn at(
        pace: Pace,
        max_bytes: usize,
        export: Export,
        boot: &str,
        clock: Arc<dyn Clock>,
        health: Arc<watch::Sender<Health>>,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(max_bytes));
        let (alive, ended) = channel::<()>();
        let hung = ExportTrouble::Hung {
            to: export.to_string(),
        };
        let work = Work {
            queue: Arc::clone(&queue),
            form: Form::new(&export, boot.to_owned(), clock),
            export,
            pace,
            health,
            hung: hung.clone(),
            connection: None,
            rest: pace.rest.0,
        };
        let thread = Builder::new()
            .name("audit-export".to_owned())
            .spawn(move || {
                let _alive = alive;
                work.run();
            })?;
        Ok(Self {
            queue,
            hung,
            thread: Some(thread),
            ended: Mutex::new(ended),
        })
    }

    /// Where lines are put.
    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Ends when what was put there before is handed on, and not after `patience`.
    ///
    /// # Errors
    /// It is not, for now.
    pub(crate) async fn flush(
        &self,
        mut health: watch::Receiver<Health>,
        patience: Duration,
    ) -> Result<(), ExportTrouble> {
        let trouble = |health: &Health| health.export.as_ref()?.trouble.clone();
        let handed_on = async {
            tokio::select! {
                biased;
                flushed = self.queue.flush() => flushed.map_err(|_| ExportTrouble::Closed),
                failed = health.wait_for(|health| trouble(health).is_some()) => {
                    let failed = failed.ok().and_then(|health| trouble(&health));
                    Err(failed.unwrap_or(ExportTrouble::Closed))
                }
            }
        };
        match timeout(patience, handed_on).await {
            Ok(handed_on) => handed_on,
            Err(_) => Err(self.hung.clone()),
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.queue.close();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(AT_END) == Err(RecvTimeoutError::Timeout) {
            let left = self.queue.left();
            warn!("The proplet ends, and {left} entries of the audit log were not exported");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("The export of the audit log broke down; report it with the proplet's log");
        }
    }
}

struct Work {
    queue: Arc<Queue>,
    form: Form,
    export: Export,
    pace: Pace,
    health: Arc<watch::Sender<Health>>,
    /// What is said while a socket takes nothing.
    hung: ExportTrouble,
    /// The socket, and since when it is there.
    connection: Option<(Socket, Instant)>,
    rest: Duration,
}

/// What became of a frame.
enum Fate {
    Sent,
    TooLarge,
    /// The log ends, and nobody takes it.
    GivenUp,
}

impl Work {
    fn run(mut self) {
        while let Some(item) = self.queue.next() {
            let lines = item.lines();
            let fate = match item {
                Item::Line { number, line } => self.line(number, &line),
                Item::Missed(missed) => self.missed(missed),
                Item::Flush(waiting) => {
                    let _ = waiting.send(());
                    Fate::Sent
                }
            };
            if matches!(fate, Fate::GivenUp) {
                let left = self.queue.left().saturating_add(lines);
                warn!("The proplet ends, and {left} entries of the audit log were not exported");
                return;
            }
        }
    }

    fn line(&mut self, number: u64, line: &str) -> Fate {
        let frame = self.form.line(number, line);
        match self.deliver(&frame) {
            Fate::TooLarge => {
                self.queue.count_missed();
                let missed = self.queue.missed();
                self.health
                    .send_if_modified(|health| health.count(0, missed));
                self.missed(Missed {
                    first: number,
                    last: number,
                })
            }
            fate => fate,
        }
    }

    /// Says in the export, and in the log, what is missing.
    fn missed(&mut self, missed: Missed) -> Fate {
        let Missed { first, last } = missed;
        let count = missed.count();
        warn!(
            "{count} entries of the audit log were not exported, lines {first} to {last} of this boot: get them from its files"
        );
        let frame = self.form.missed(missed);
        self.deliver(&frame)
    }

    fn deliver(&mut self, frame: &[u8]) -> Fate {
        loop {
            let trouble = match self.send(frame) {
                Ok(()) => {
                    self.works();
                    return Fate::Sent;
                }
                Err(NotSent::TooLarge) => return Fate::TooLarge,
                Err(NotSent::Hung) => self.hung.clone(),
                Err(NotSent::Failed(error)) => ExportTrouble::Unreachable {
                    to: self.export.to_string(),
                    words: short_line(&error.to_string(), MAX_WORDS),
                },
            };
            let rest = self.failed(&trouble);
            if !self.queue.rest(rest) {
                return Fate::GivenUp;
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        let (socket, _) = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let socket = Socket::connect(&self.export, self.pace.wake);
                let socket = socket.map_err(NotSent::Failed)?;
                none.insert((socket, Instant::now()))
            }
        };
        let mut waits = Waits {
            queue: &self.queue,
            health: &self.health,
            hung: &self.hung,
            pace: self.pace,
            since: Instant::now(),
        };
        socket.send(frame, &mut waits)
    }

    fn works(&self) {
        if publish(&self.health, None) {
            info!("The audit log is exported again");
        }
    }

    /// Gives how long to rest.
    fn failed(&mut self, trouble: &ExportTrouble) -> Duration {
        let (first, most) = self.pace.rest;
        if let Some((_, since)) = self.connection.take()
            && since.elapsed() > most
        {
            self.rest = first;
        }
        let rest = self.rest;
        self.rest = rest.saturating_mul(2).min(most);
        if publish(&self.health, Some(trouble)) {
            error!("{trouble}");
        }
        rest
    }
}

/// Says how the export is. Whether it was otherwise before: what kind of trouble there is, or that there is none.
fn publish(health: &watch::Sender<Health>, trouble: Option<&ExportTrouble>) -> bool {
    let word = |trouble: Option<&ExportTrouble>| trouble.map(ExportTrouble::word);
    health.send_if_modified(|health| {
        let Some(export) = &mut health.export else {
            return false;
        };
        let is_news = word(export.trouble.as_ref()) != word(trouble);
        if is_news {
            export.trouble = trouble.cloned();
        }
        is_news
    })
}

/// Waits for a socket that takes nothing.
struct Waits<'a> {
    queue: &'a Queue,
    health: &'a watch::Sender<Health>,
    hung: &'a ExportTrouble,
    pace: Pace,
    since: Instant,
}

impl Patience for Waits<'_> {
    fn moved(&mut self) {
        self.since = Instant::now();
    }

    fn goes_on(&mut self) -> bool {
        let waited = self.since.elapsed();
        if waited >= self.pace.hung && publish(self.health, Some(self.hung)) {
            error!("{}", self.hung);
        }
        waited < self.pace.gone && !self.queue.is_closed()
    }
}
