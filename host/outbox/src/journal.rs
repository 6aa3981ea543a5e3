//! What the rest of the host sees of the store.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::{
    accept::{AcceptError, Rerun},
    core::Core,
    disk::{Disk, Folder, OpenError},
    entry::Answer,
    health::{Health, State},
    recovered::{Number, Recovered},
    seal::Seal,
    trouble::Trouble,
    writer::{Operation, Reply, Writer},
};

/// So many requests may wait for the thread that writes.
const MAX_WAITING: usize = 1024;

/// How a store is set up.
pub struct Options {
    /// The folder that it lies in.
    pub path: PathBuf,
    /// Tasks are refused once so many bytes are in it. What is owed to tasks that run comes on top.
    pub max_bytes: u64,
    /// Whether ids may run again.
    pub rerun: Rerun,
    /// Seals the entries.
    pub seal: Option<Arc<dyn Seal>>,
}

/// The tasks that were accepted and the answers that the broker lacks. Clones share one.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

/// A store that is being opened.
pub struct Opening {
    opened: oneshot::Receiver<Result<(), OpenError>>,
    recovered: mpsc::UnboundedReceiver<Recovered>,
}

impl Opening {
    /// Ends when the store was opened, or could not be for now. What an earlier process left in it is there at
    /// once in the first case, and comes later in the second.
    ///
    /// # Errors
    /// [`OpenError`]: what only an operator can change.
    pub async fn done(self) -> Result<mpsc::UnboundedReceiver<Recovered>, OpenError> {
        match self.opened.await {
            Ok(opened) => opened.map(|()| self.recovered),
            Err(_) => Err(OpenError::Thread(std::io::ErrorKind::Other.into())),
        }
    }
}

struct Shared {
    writer: Option<Writer>,
    places: Arc<Semaphore>,
    health: watch::Receiver<Health>,
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
        Self::of(None, watch::channel(health).1)
    }

    /// A journal over a store, which is being opened from now on. What comes before it is open waits for it.
    ///
    /// A store that cannot be opened now is tried again for as long as the journal lives; until then tasks
    /// are refused.
    ///
    /// # Errors
    /// [`OpenError::Thread`]. What else is wrong, [`Opening::done`] tells.
    pub fn open(options: Options) -> Result<(Self, Opening), OpenError> {
        let folder = Folder::new(options.path.clone());
        Self::over(Box::new(folder), options)
    }

    pub(crate) fn over(
        disk: Box<dyn Disk>,
        options: Options,
    ) -> Result<(Self, Opening), OpenError> {
        let core = Core::new(disk, options.seal, options.max_bytes, options.rerun);
        let (health_sender, health) = watch::channel(core.health());
        let (recovered_sender, recovered) = mpsc::unbounded_channel();
        let (opened_sender, opened) = oneshot::channel();
        let writer = Writer::start(core, health_sender, opened_sender, recovered_sender)
            .map_err(OpenError::Thread)?;
        let opening = Opening { opened, recovered };
        Ok((Self::of(Some(writer), health), opening))
    }

    fn of(writer: Option<Writer>, health: watch::Receiver<Health>) -> Self {
        Self(Arc::new(Shared {
            writer,
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            health,
        }))
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

    /// Accepts a task. Once this has ended well, an interrupted task is reported after a restart.
    ///
    /// # Errors
    /// [`AcceptError`]; then nothing was accepted.
    pub async fn accept(&self, task: &str) -> Result<Number, AcceptError> {
        let Some(writer) = &self.0.writer else {
            return Ok(Number(0));
        };
        let accepted = self.ask(writer, |reply| Operation::Accept {
            task: task.to_owned(),
            reply,
        });
        let accepted = accepted.await.unwrap_or(Err(Trouble::Closed.into()));
        accepted.map(Number)
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
        let kept = self.ask(writer, |reply| Operation::Answer {
            number: number.map(|number| number.0),
            task: task.to_owned(),
            answer,
            reply,
        });
        let (number, kept) = kept.await.unwrap_or((None, Err(Trouble::Closed)));
        (number.map(Number), kept)
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
        let flushed = self.ask(writer, |reply| Operation::Flush { reply });
        flushed.await.map_or(Err(Trouble::Closed), |(_, kept)| kept)
    }

    /// None when the thread is gone.
    async fn ask<T>(
        &self,
        writer: &Writer,
        operation: impl FnOnce(Reply<T>) -> Operation,
    ) -> Option<T> {
        let place = Arc::clone(&self.0.places).acquire_owned().await.ok()?;
        let (sender, answered) = oneshot::channel();
        writer.send(operation(Reply {
            sender,
            _place: place,
        }));
        answered.await.ok()
    }
}

#[cfg(test)]
mod tests;
