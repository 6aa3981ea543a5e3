//! The state of a journal, and how it gets to the disk. Nothing here knows of threads or waiters.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use ring::digest::{SHA256, digest};
use tracing::{error, info, warn};

use crate::{
    accept::{AcceptError, Counts, Rerun},
    database::{Changes, Found, Store, TaskDigest},
    disk::{Disk, Failure, OpenError},
    entry::{Answer, Entry},
    health::{Health, State},
    seal::Seal,
    trouble::Trouble,
};

/// What an id that must not run again takes in the store, in bytes.
const DONE_BYTES: u64 = 48;

/// What is to be on the disk, and what may be there.
pub(crate) struct Core {
    disk: Box<dyn Disk>,
    seal: Option<Arc<dyn Seal>>,
    max_bytes: u64,
    rerun: Rerun,
    store: Result<Store, Trouble>,
    /// The next number. It is known once the store was open.
    next: Option<u64>,
    /// What the store is to hold.
    live: BTreeMap<u64, Entry>,
    /// Bytes of that.
    bytes: u64,
    /// Numbers that may be on the disk.
    written: BTreeSet<u64>,
    /// Numbers whose entry may differ between here and the disk.
    dirty: BTreeSet<u64>,
    /// Ids that are to be added or removed.
    done: BTreeMap<TaskDigest, bool>,
    /// How many ids are on the disk.
    done_count: u64,
    /// Entries that are there now whose ids may come again whatever the settings say.
    repeatable: BTreeSet<u64>,
    set_aside: Option<PathBuf>,
}

impl Core {
    pub(crate) fn new(
        disk: Box<dyn Disk>,
        seal: Option<Arc<dyn Seal>>,
        max_bytes: u64,
        rerun: Rerun,
    ) -> Self {
        Self {
            disk,
            seal,
            max_bytes,
            rerun,
            store: Err(Trouble::Closed),
            next: None,
            live: BTreeMap::new(),
            bytes: 0,
            written: BTreeSet::new(),
            dirty: BTreeSet::new(),
            done: BTreeMap::new(),
            done_count: 0,
            repeatable: BTreeSet::new(),
            set_aside: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.store.is_ok()
    }

    /// Whether anything is still to be written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.done.is_empty()
    }

    pub(crate) fn health(&self) -> Health {
        Health {
            state: match &self.store {
                Ok(_) => State::Good,
                Err(trouble) => State::Failing(trouble.clone()),
            },
            entries: self.live.len(),
            bytes: self.total(),
            set_aside: self.set_aside.clone(),
        }
    }

    /// Opens the store if it is not, and gives what an earlier process left in it. What this process has in
    /// memory is written with the next commit.
    pub(crate) fn open(&mut self) -> Result<Vec<(u64, Entry)>, OpenError> {
        if self.is_open() {
            return Ok(Vec::new());
        }
        let opened = match Store::open(&mut *self.disk, self.seal.clone()) {
            Err(Failure::Trouble(Trouble::Damaged(why))) => self.begin_anew(&why),
            opened => opened,
        };
        match opened {
            Ok((store, found)) => {
                if !matches!(self.store, Err(Trouble::Closed)) {
                    info!("The outbox can be written again");
                }
                self.store = Ok(store);
                Ok(self.take_over(found))
            }
            Err(Failure::Fatal(fatal)) => Err(fatal),
            Err(Failure::Trouble(trouble)) => {
                self.fail(trouble);
                Ok(Vec::new())
            }
        }
    }

    fn begin_anew(&mut self, why: &str) -> Result<(Store, Found), Failure> {
        let aside = match self.disk.set_aside() {
            Ok(aside) => aside,
            Err(error) => {
                error!("The outbox is damaged ({why}) and cannot be set aside: {error}");
                return Err(Trouble::damaged(&error).into());
            }
        };
        error!(
            "The outbox is damaged ({why}). It is set aside as {}, and a new one is begun: the tasks in it are \
             not answered, and ids that must not run again are forgotten with it",
            aside.display()
        );
        self.set_aside = Some(aside);
        self.written.clear();
        self.dirty.clear();
        Store::open(&mut *self.disk, self.seal.clone())
    }

    fn take_over(&mut self, found: Found) -> Vec<(u64, Entry)> {
        self.done_count = found.done;
        let last = found.entries.keys().next_back().copied();
        let next = last.map_or(1, |last| last.saturating_add(1));
        self.next = Some(self.next.map_or(next, |known| known.max(next)));
        // What is not there any more, whatever became of it, is written again.
        let missing = self.live.keys().copied();
        self.dirty
            .extend(missing.filter(|number| !found.entries.contains_key(number)));
        let mut recovered = Vec::new();
        for (number, entry) in found.entries {
            // What this process wrote it knows, also when it has forgotten it since.
            if self.written.insert(number) {
                self.bytes = self.bytes.saturating_add(entry.size());
                self.live.insert(number, entry.clone());
                recovered.push((number, entry));
            }
        }
        recovered
    }

    /// An entry for a task, to be written with the next commit: its number.
    ///
    /// With [`Counts::No`] the id is not one that ran. One that did is refused all the same.
    pub(crate) fn accept(&mut self, task: &str, counts: Counts) -> Result<u64, AcceptError> {
        let store = match &self.store {
            Ok(store) => store,
            Err(trouble) => return Err(trouble.clone().into()),
        };
        let digest = task_digest(task);
        if self.rerun == Rerun::Never {
            let is_done = match self.done.get(&digest) {
                Some(is_done) => Ok(*is_done),
                None => store.is_done(&digest),
            };
            match is_done {
                Ok(false) => {}
                Ok(true) => return Err(AcceptError::AlreadyRun),
                Err(trouble) => {
                    self.fail(trouble.clone());
                    return Err(trouble.into());
                }
            }
        }
        if self.total() >= self.max_bytes {
            return Err(Trouble::Bound(self.max_bytes).into());
        }
        if self.rerun == Rerun::Never && counts == Counts::Yes {
            self.done.insert(digest, true);
        }
        let number = self.number().ok_or(Trouble::Closed)?;
        if counts == Counts::No {
            self.repeatable.insert(number);
        }
        let entry = Entry {
            task: task.to_owned(),
            answer: None,
        };
        self.put(number, entry);
        Ok(number)
    }

    /// Takes back an entry whose commit failed: its task is refused.
    pub(crate) fn revoke(&mut self, number: u64) {
        if let Some(entry) = self.live.get(&number)
            && self.rerun == Rerun::Never
            && !self.repeatable.contains(&number)
        {
            self.done.insert(task_digest(&entry.task), false);
        }
        self.forget(number);
    }

    /// The answer to a task that was accepted, or that was refused and gets an entry now: its number. There
    /// is none before the store was open for the first time, because none is known to be free.
    pub(crate) fn answer(
        &mut self,
        number: Option<u64>,
        task: &str,
        answer: Answer,
    ) -> Option<u64> {
        let number = number.or_else(|| self.number())?;
        let entry = Entry {
            task: task.to_owned(),
            answer: Some(answer),
        };
        self.put(number, entry);
        Some(number)
    }

    fn number(&mut self) -> Option<u64> {
        let number = self.next?;
        self.next = Some(number.saturating_add(1));
        Some(number)
    }

    /// The broker has the answer.
    pub(crate) fn forget(&mut self, number: u64) {
        self.repeatable.remove(&number);
        if let Some(entry) = self.live.remove(&number) {
            self.bytes = self.bytes.saturating_sub(entry.size());
        }
        if self.written.contains(&number) {
            self.dirty.insert(number);
        } else {
            self.dirty.remove(&number);
        }
    }

    /// Writes everything that is not on the disk, and ends when it is.
    pub(crate) fn commit(&mut self) -> Result<(), Trouble> {
        let store = match &self.store {
            Ok(store) => store,
            Err(trouble) => return Err(trouble.clone()),
        };
        let changes = Changes {
            entries: self
                .dirty
                .iter()
                .map(|number| (*number, self.live.get(number)))
                .collect(),
            done: self
                .done
                .iter()
                .map(|(task, done)| (*task, *done))
                .collect(),
        };
        let applied = store.apply(&changes);
        // A commit that failed may be on the disk all the same.
        for (number, entry) in &changes.entries {
            if entry.is_some() {
                self.written.insert(*number);
            } else if applied.is_ok() {
                self.written.remove(number);
            }
        }
        match applied {
            Ok(()) => {
                self.dirty.clear();
                for (_, added) in std::mem::take(&mut self.done) {
                    self.done_count = if added {
                        self.done_count.saturating_add(1)
                    } else {
                        self.done_count.saturating_sub(1)
                    };
                }
                Ok(())
            }
            Err(trouble) => {
                self.fail(trouble.clone());
                Err(trouble)
            }
        }
    }

    fn put(&mut self, number: u64, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.size());
        if let Some(old) = self.live.insert(number, entry) {
            self.bytes = self.bytes.saturating_sub(old.size());
        }
        self.dirty.insert(number);
    }

    fn total(&self) -> u64 {
        let done = self.done_count.saturating_add(self.done.len() as u64);
        self.bytes.saturating_add(done.saturating_mul(DONE_BYTES))
    }

    /// Closes the store: after an error only a store that is opened anew can be trusted.
    fn fail(&mut self, trouble: Trouble) {
        if !matches!(&self.store, Err(known) if *known == trouble) {
            warn!(
                "No task is taken until the outbox can be written: {trouble}. Results are kept in memory"
            );
        }
        self.store = Err(trouble);
    }
}

fn task_digest(task: &str) -> TaskDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, task.as_bytes()).as_ref());
    bytes
}
