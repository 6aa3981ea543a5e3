//! The log of one boot, for whoever has something to put on record.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use proplet_types::{Clock, Digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::{
    chain::Chain,
    core::{Core, FORMAT},
    disk::{Disk, Folder, OpenError},
    event::{Event, Parts},
    export::{Export, ExportTrouble, Exported, Exporter},
    health::{Health, State, Trouble},
    sealing::Sealing,
    task::TaskLog,
    writer::{Keep, Order, Setup, Writer},
};

/// Where the log is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: there are chains, and their heads in receipts and evidence.
    #[default]
    Memory,
    /// Files in a folder.
    Folder {
        /// The folder. It is made if it is not there.
        path: PathBuf,
        /// Another file is begun when one has so many bytes.
        max_file_bytes: u64,
        /// The oldest files are removed when there are more bytes than this in all. None: never.
        max_bytes: Option<u64>,
    },
}

/// What a boot's chain begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The version of this program.
    pub version: String,
    /// Digest of the settings in force.
    pub settings: Digest,
}

/// How a log is set up.
pub struct Options {
    /// Where it is written.
    pub place: Place,
    /// Who may see addresses; none leaves them out.
    pub sealing: Option<Sealing>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// How long the disk may take, for whoever waits for it.
    pub patience: Duration,
    /// Who gets a copy of each line.
    pub export: Option<Export>,
    /// What it begins with.
    pub boot: Boot,
}

/// The log of this boot. Clones share one.
#[derive(Clone)]
pub struct Audit(Arc<Shared>);

struct Shared {
    core: Arc<Mutex<Core>>,
    sealing: Option<Sealing>,
    clock: Arc<dyn Clock>,
    writer: Option<Writer>,
    /// Behind the writer, which may have lines until it ends.
    exporter: Option<Exporter>,
    health: watch::Receiver<Health>,
    health_sender: Arc<watch::Sender<Health>>,
    patience: Duration,
}

/// A log whose folder is being opened.
pub struct Opening {
    opened: Option<oneshot::Receiver<Result<(), OpenError>>>,
    patience: Duration,
}

impl Opening {
    /// Ends when the folder is open, or cannot be opened for now, or the disk does not answer.
    ///
    /// # Errors
    /// [`OpenError`]: what only an operator can change.
    pub async fn done(self) -> Result<(), OpenError> {
        let Some(opened) = self.opened else {
            return Ok(());
        };
        match timeout(self.patience, opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(OpenError::Thread(std::io::ErrorKind::Other.into())),
            Err(_) => {
                tracing::warn!("{}; what happens meanwhile waits in memory", Trouble::Hung);
                Ok(())
            }
        }
    }
}

impl Audit {
    /// Begins the log of a boot.
    ///
    /// A folder that cannot be opened now is tried again for as long as the log lives; until then lines wait in memory.
    ///
    /// # Errors
    /// [`OpenError::Random`] and [`OpenError::Thread`]. What else is wrong, [`Opening::done`] tells.
    pub fn open(options: Options) -> Result<(Self, Opening), OpenError> {
        let disk = match &options.place {
            Place::Memory => None,
            Place::Folder { path, .. } => Some(Box::new(Folder::new(path.clone())) as Box<_>),
        };
        Self::over(disk, options)
    }

    /// A log in memory, for a host that nobody gave one to.
    ///
    /// # Errors
    /// [`OpenError::Random`].
    pub fn in_memory(clock: Arc<dyn Clock>, boot: Boot) -> Result<Self, OpenError> {
        let options = Options {
            place: Place::Memory,
            sealing: None,
            clock,
            patience: Duration::ZERO,
            export: None,
            boot,
        };
        Self::over(None, options).map(|(audit, _)| audit)
    }

    pub(crate) fn over(
        disk: Option<Box<dyn Disk>>,
        options: Options,
    ) -> Result<(Self, Opening), OpenError> {
        let Options {
            place,
            sealing,
            clock,
            patience,
            export,
            boot,
        } = options;
        let (max_file_bytes, max_bytes) = match place {
            Place::Memory => (u64::MAX, None),
            Place::Folder {
                max_file_bytes,
                max_bytes,
                ..
            } => (max_file_bytes, max_bytes),
        };
        let state = match disk {
            None => State::Memory,
            Some(_) => State::Good,
        };
        let (sender, health) = watch::channel(Health {
            state,
            lost: 0,
            export: export.as_ref().map(|_| Exported::default()),
        });
        let health_sender = Arc::new(sender);
        let name = random_name()?;
        let exporter = export
            .map(|export| {
                let health = Arc::clone(&health_sender);
                Exporter::start(export, &name, Arc::clone(&clock), health)
            })
            .transpose()
            .map_err(OpenError::Thread)?;
        let queue = exporter.as_ref().map(Exporter::queue);
        let mut core = Core::new(name, max_file_bytes, queue);
        let mut first = None;
        let begins = Parts::new("boot")
            .about("format", FORMAT)
            .word("version", &boot.version)
            .digest("settings", Some(boot.settings));
        core.record(&begins, None, &*clock, true, &mut |order| {
            first = Some(order)
        });
        let core = Arc::new(Mutex::new(core));
        let mut opening = Opening {
            opened: None,
            patience,
        };
        let writer = match disk.zip(first) {
            None => None,
            Some((disk, first)) => {
                let (sender, opened) = oneshot::channel();
                opening.opened = Some(opened);
                let setup = Setup {
                    disk,
                    core: Arc::clone(&core),
                    clock: Arc::clone(&clock),
                    health: Arc::clone(&health_sender),
                    keep: max_bytes.map(|most| Keep {
                        bytes: most.saturating_sub(max_file_bytes),
                        max_file_bytes,
                    }),
                };
                let writer = Writer::start(setup, patience, first, sender);
                Some(writer.map_err(OpenError::Thread)?)
            }
        };
        let audit = Self(Arc::new(Shared {
            core,
            sealing,
            clock,
            writer,
            exporter,
            health,
            health_sender,
            patience,
        }));
        Ok((audit, opening))
    }

    /// Puts an event into the boot's chain. Waits for nobody.
    pub fn record(&self, event: Event) {
        self.add(&event.into());
    }

    /// Begins the chain of a task.
    #[must_use]
    pub fn begin(&self, task: &str) -> TaskLog {
        TaskLog::new(self.clone(), task, self.chain(task))
    }

    /// The chain of a task, which begins with this event as soon as there is more to say. Until then nothing of it is on
    /// record, and nothing will be where the task is refused first.
    #[must_use]
    pub fn expect(&self, task: &str, first: Event) -> TaskLog {
        TaskLog::expected(self.clone(), task, (first.into(), self.now()))
    }

    /// Puts on record that a task has a chain.
    pub(crate) fn chain(&self, task: &str) -> Chain {
        let parts = Parts::new("task-begun").task(task);
        let (boot, seq, head) = self.with(|shared, core, room| {
            core.record(&parts, None, &*shared.clock, room, &mut |order| {
                shared.send(order)
            })
        });
        Chain::of_task(&boot, seq, head)
    }

    /// Head of the boot's chain as it is now.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.0.lock().head()
    }

    /// The random name of this boot's chain.
    #[must_use]
    pub fn boot(&self) -> String {
        self.0.lock().boot.name().to_owned()
    }

    /// How the log is, and changes of that.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.health.clone()
    }

    /// Ends when what was put on record before is on the disk; at once where there is none to be on.
    ///
    /// # Errors
    /// [`Trouble`]: it is not, and waits in memory for as long as there is room.
    pub async fn flush(&self) -> Result<(), Trouble> {
        let shared = &self.0;
        let Some(writer) = &shared.writer else {
            return Ok(());
        };
        if shared.is_hung(writer) {
            return Err(Trouble::Hung);
        }
        let (sender, flushed) = oneshot::channel();
        writer.send(Order::Flush(sender));
        match timeout(shared.patience, flushed).await {
            Ok(Ok(flushed)) => flushed,
            Ok(Err(_)) => Err(Trouble::Closed),
            Err(_) => {
                shared.is_hung(writer);
                Err(Trouble::Hung)
            }
        }
    }

    /// Ends when what was put on record before is handed to the receiver of the export; at once where there is none.
    ///
    /// # Errors
    /// [`ExportTrouble`]: it is not, and waits for as long as there is room.
    pub async fn flush_export(&self) -> Result<(), ExportTrouble> {
        match &self.0.exporter {
            Some(exporter) => exporter.flush(self.health(), self.0.patience).await,
            None => Ok(()),
        }
    }

    /// How many lines found no room so far.
    #[must_use]
    pub fn lost_so_far(&self) -> u64 {
        self.0.lock().lost_in_all
    }

    /// As [`Audit::flush`], for lines that were put on record since `lost` was what [`Audit::lost_so_far`] said. They are
    /// on record when this is called: what is lost later is not theirs.
    ///
    /// # Errors
    /// [`Trouble::Lost`] too: some line since then is lost, which may be another's.
    pub async fn flush_whole(&self, lost: u64) -> Result<(), Trouble> {
        if self.lost_so_far() != lost {
            return Err(Trouble::Lost);
        }
        self.flush().await
    }

    pub(crate) fn seal(&self, parts: &Parts) -> Option<Arc<Value>> {
        self.0.sealing.as_ref()?.seal(parts)
    }

    /// Puts an entry into the boot's chain.
    pub(crate) fn add(&self, parts: &Parts) {
        let sealed = self.seal(parts);
        self.with(|shared, core, room| {
            core.record(
                parts,
                sealed.as_deref(),
                &*shared.clock,
                room,
                &mut |order| shared.send(order),
            );
        });
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// Adds an entry of this time to a task's chain, and gives its line.
    pub(crate) fn extend(
        &self,
        chain: &mut Chain,
        parts: &Parts,
        sealed: Option<&Value>,
        at: SystemTime,
    ) -> String {
        let line = chain.extend(parts, sealed, at);
        self.with(|shared, core, room| {
            core.pass(line.clone(), &*shared.clock, room, &mut |order| {
                shared.send(order)
            });
        });
        line
    }

    fn with<T>(&self, work: impl FnOnce(&Shared, &mut Core, bool) -> T) -> T {
        let shared = &self.0;
        let (done, lost, missed) = {
            let mut core = shared.lock();
            let room = shared.writer.as_ref().is_none_or(Writer::has_room);
            let done = work(shared, &mut core, room);
            (done, core.lost_in_all, core.missed())
        };
        if let Some(writer) = &shared.writer {
            shared.is_hung(writer);
        }
        shared
            .health_sender
            .send_if_modified(|health| health.count(lost, missed));
        done
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, order: Order) {
        if let Some(writer) = &self.writer {
            writer.send(order);
        }
    }

    /// Whether the disk has not answered for longer than anybody waits. If so, it is told.
    fn is_hung(&self, writer: &Writer) -> bool {
        let hangs = writer.busy.is_longer_than(self.patience);
        if hangs {
            self.health_sender.send_if_modified(|health| {
                let told = State::Failing(Trouble::Hung);
                let is_news = health.state != told;
                if is_news {
                    tracing::error!("{}", Trouble::Hung);
                    health.state = told;
                }
                is_news
            });
        }
        hangs
    }
}

fn random_name() -> Result<String, OpenError> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| OpenError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
