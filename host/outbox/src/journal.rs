//! What the rest of the host sees of the store.

use std::{path::PathBuf, sync::Arc, time::Duration};

use proplet_types::Code;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tracing::warn;

use crate::{
    accept::{AcceptError, Counts, Rerun},
    core::Core,
    device::{self, Device},
    disk::{Disk, Folder, OpenError},
    entry::Answer,
    health::{Health, State},
    recovered::{Number, Recovered},
    seal::{Sealing, SealingRoot},
    trouble::Trouble,
    writer::{Kept, Operation, Reply, Writer},
};

/// So many requests may wait for the thread that writes.
const MAX_WAITING: usize = 1024;

/// How a store is set up.
pub struct Options {
    /// The folder that it lies in, or the block device. What is named below `/dev` and is not there is a device that is
    /// missing, and no folder is made of it.
    pub path: PathBuf,
    /// Tasks are refused once so many bytes are in it. What is owed to tasks that run comes on top.
    pub max_bytes: u64,
    /// Whether ids may run again.
    pub rerun: Rerun,
    /// Whether the store is sealed.
    pub sealing: Sealing,
    /// How long the disk may take. Afterwards tasks are refused and answers wait in memory until it answers, and the
    /// end of the process waits no longer than this either.
    pub patience: Duration,
}

/// The tasks that were accepted and the answers that the broker lacks. Clones share one.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

/// A store that is being opened.
pub struct Opening {
    opened: oneshot::Receiver<Result<(), OpenError>>,
    recovered: mpsc::UnboundedReceiver<Recovered>,
    patience: Duration,
}

impl Opening {
    /// Ends when the store was opened, or could not be for now, or the disk does not answer. What an earlier process left in it is there at
    /// once in the first case, and comes later in the others.
    ///
    /// # Errors
    /// [`OpenError`]: what only an operator can change.
    pub async fn done(self) -> Result<mpsc::UnboundedReceiver<Recovered>, OpenError> {
        match timeout(self.patience, self.opened).await {
            Ok(Ok(opened)) => opened.map(|()| self.recovered),
            Ok(Err(_)) => Err(OpenError::Thread(std::io::ErrorKind::Other.into())),
            Err(_) => {
                warn!("{}. Tasks are refused until it answers", Trouble::Hung);
                Ok(self.recovered)
            }
        }
    }
}

struct Shared {
    writer: Option<Writer>,
    places: Arc<Semaphore>,
    health: watch::Receiver<Health>,
    health_sender: Arc<watch::Sender<Health>>,
    patience: Duration,
}

impl Journal {
    /// A journal in memory: everything is accepted, and a restart forgets it.
    #[must_use]
    pub fn in_memory() -> Self {
        let health = Health {
            state: State::Memory,
            entries: 0,
            bytes: 0,
            set_aside: None,
        };
        let (sender, health) = watch::channel(health);
        Self::of(None, (Arc::new(sender), health), Duration::ZERO)
    }

    /// A journal over a store, which is being opened from now on. What comes before it is open waits for it.
    ///
    /// A store that cannot be opened now is tried again for as long as the journal lives; until then tasks
    /// are refused. One whose sealing root is awaited is opened when that comes.
    ///
    /// # Errors
    /// [`OpenError::Thread`]. What else is wrong, [`Opening::done`] tells.
    pub fn open(options: Options) -> Result<(Self, Opening), OpenError> {
        let path = options.path.clone();
        let disk: Box<dyn Disk> = if device::is_meant(&path) {
            Box::new(Device::new(path, options.max_bytes))
        } else {
            Box::new(Folder::new(path))
        };
        Self::over(disk, options)
    }

    pub(crate) fn over(
        disk: Box<dyn Disk>,
        options: Options,
    ) -> Result<(Self, Opening), OpenError> {
        let core = Core::new(disk, options.sealing, options.max_bytes, options.rerun);
        let (health_sender, health) = watch::channel(core.health());
        let health = (Arc::new(health_sender), health);
        let (recovered_sender, recovered) = mpsc::unbounded_channel();
        let (opened_sender, opened) = oneshot::channel();
        let patience = options.patience;
        let writer = Writer::start(
            core,
            patience,
            Arc::clone(&health.0),
            opened_sender,
            recovered_sender,
        )
        .map_err(OpenError::Thread)?;
        let opening = Opening {
            opened,
            recovered,
            patience,
        };
        Ok((Self::of(Some(writer), health, patience), opening))
    }

    fn of(
        writer: Option<Writer>,
        (health_sender, health): (Arc<watch::Sender<Health>>, watch::Receiver<Health>),
        patience: Duration,
    ) -> Self {
        Self(Arc::new(Shared {
            writer,
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            health,
            health_sender,
            patience,
        }))
    }

    /// Gives the sealing root that is awaited; the store is opened now. Any other journal takes no notice.
    pub fn unlock(&self, root: SealingRoot) {
        if let Some(writer) = &self.0.writer {
            writer.send(Operation::Root(Ok(root)));
        }
    }

    /// Says why the sealing root that is awaited is not there, for [`Journal::health`].
    pub fn stay_locked(&self, why: Code) {
        if let Some(writer) = &self.0.writer {
            writer.send(Operation::Root(Err(why)));
        }
    }

    /// How the store is, and changes of that.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.health.clone()
    }

    /// Whether anything outlives the process.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.0.writer.is_some()
    }

    /// Accepts a task. Once this has ended well, an interrupted task is reported after a restart. Who stops waiting
    /// has not accepted it.
    ///
    /// # Errors
    /// [`AcceptError`]; then nothing was accepted.
    pub async fn accept(&self, task: &str) -> Result<Number, AcceptError> {
        self.accept_as(task, Counts::Yes).await
    }

    /// The same for what does not run by being accepted: with [`Rerun::Never`] its id may come again. One that ran is
    /// refused.
    ///
    /// # Errors
    /// [`AcceptError`]; then nothing was accepted.
    pub async fn accept_repeatable(&self, task: &str) -> Result<Number, AcceptError> {
        self.accept_as(task, Counts::No).await
    }

    async fn accept_as(&self, task: &str, counts: Counts) -> Result<Number, AcceptError> {
        let Some(writer) = &self.0.writer else {
            return Ok(Number(0));
        };
        if self.is_hung(writer) {
            return Err(Trouble::Hung.into());
        }
        let operation = |reply| Operation::Accept {
            task: task.to_owned(),
            counts,
            reply,
        };
        let undo = |accepted: Result<u64, AcceptError>| {
            let number = accepted.ok()?;
            Some(Operation::Revoke { number })
        };
        let accepted = self.ask(writer, operation, undo).await;
        accepted
            .unwrap_or_else(|trouble| Err(trouble.into()))
            .map(Number)
    }

    /// Keeps the answer to a task, in the entry that it was accepted in, or in a new one if it was refused.
    /// The entry stays until [`Journal::forget`].
    ///
    /// With a [`Trouble`] it is not on the disk now. Where it has a number, it is written as soon as that works
    /// again, unless it is forgotten before.
    pub async fn answer(
        &self,
        number: Option<Number>,
        task: &str,
        answer: Answer,
    ) -> (Option<Number>, Result<(), Trouble>) {
        let Some(writer) = &self.0.writer else {
            return (number, Ok(()));
        };
        if number.is_none() && self.is_hung(writer) {
            return (None, Err(Trouble::Hung));
        }
        let operation = |reply| Operation::Answer {
            number: number.map(|number| number.0),
            task: task.to_owned(),
            answer,
            reply,
        };
        let undo = |(made, _): Kept| {
            let number = made.filter(|_| number.is_none())?;
            Some(Operation::Forget { number })
        };
        match self.ask(writer, operation, undo).await {
            Ok((number, kept)) => (number.map(Number), kept),
            Err(trouble) => (number, Err(trouble)),
        }
    }

    /// The broker has the answer. The entry is removed with the next commit.
    pub fn forget(&self, number: Number) {
        if let Some(writer) = &self.0.writer {
            writer.send(Operation::Forget { number: number.0 });
        }
    }

    /// Writes what is not on the disk yet, and tries a store that failed before at once.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn flush(&self) -> Result<(), Trouble> {
        let Some(writer) = &self.0.writer else {
            return Ok(());
        };
        let operation = |reply| Operation::Flush { reply };
        let flushed = self.ask(writer, operation, |_| None).await;
        flushed.and_then(|(_, kept)| kept)
    }

    /// Whether the disk has not answered for longer than anybody waits.
    fn is_hung(&self, writer: &Writer) -> bool {
        writer.busy.is_longer_than(self.0.patience)
    }

    /// Has the thread do something. `undo` takes back what it did for somebody who did not wait for it.
    async fn ask<T>(
        &self,
        writer: &Writer,
        operation: impl FnOnce(Reply<T>) -> Operation,
        undo: impl Fn(T) -> Option<Operation>,
    ) -> Result<T, Trouble> {
        let patience = self.0.patience;
        let asked = async {
            let places = Arc::clone(&self.0.places).acquire_owned();
            let place = places.await.map_err(|_| Trouble::Closed)?;
            let (sender, receiver) = oneshot::channel();
            let mut asked = Asked {
                writer,
                receiver,
                undo,
            };
            writer.send(operation(Reply {
                sender,
                _place: place,
            }));
            (&mut asked.receiver).await.map_err(|_| Trouble::Closed)
        };
        // What was asked for while the disk hangs is done when it answers; nobody waits for that.
        let patience = if self.is_hung(writer) {
            Duration::ZERO
        } else {
            patience
        };
        timeout(patience, asked).await.unwrap_or_else(|_| {
            self.0.health_sender.send_if_modified(|health| {
                // It may have answered since; then it has said so, or will.
                let hangs = self.is_hung(writer);
                if hangs {
                    health.state = State::Failing(Trouble::Hung);
                }
                hangs
            });
            Err(Trouble::Hung)
        })
    }
}

/// Somebody who waits for the thread.
struct Asked<'a, T, U: Fn(T) -> Option<Operation>> {
    writer: &'a Writer,
    receiver: oneshot::Receiver<T>,
    undo: U,
}

impl<T, U: Fn(T) -> Option<Operation>> Drop for Asked<'_, T, U> {
    /// What was done meanwhile, and is not known to whoever asked, is undone; what is done later, the thread undoes.
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(done) = self.receiver.try_recv()
            && let Some(operation) = (self.undo)(done)
        {
            self.writer.send(operation);
        }
    }
}

#[cfg(test)]
mod tests;
