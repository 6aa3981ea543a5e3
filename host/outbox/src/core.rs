//! The state of a journal, and how it gets to the disk. Nothing here knows of threads or waiters.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use proplet_types::Code;
use ring::digest::{SHA256, digest};
use tracing::{error, info, warn};

use crate::{
    accept::{AcceptError, Counts, Rerun},
    database::{Changes, Found, Store, TaskDigest},
    disk::{Disk, Failure, OpenError},
    entry::{Answer, Entry},
    health::{Health, State},
    seal::{Known, Sealing, SealingRoot},
    trouble::Trouble,
};

/// What an id that must not run again takes in the store, in bytes.
const DONE_BYTES: u64 = 48;

/// What is to be on the disk, and what may be there.
pub(crate) struct Core {
    disk: Box<dyn Disk>,
    sealing: Sealing,
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
    /// How this process left a sealed store.
    known: Known,
    /// The last commit found no room.
    was_full: bool,
    /// Where a store lies that was not gone on with, and why in one word.
    set_aside: Option<(PathBuf, &'static str)>,
}

impl Core {
    pub(crate) fn new(disk: Box<dyn Disk>, sealing: Sealing, max_bytes: u64, rerun: Rerun) -> Self {
        let why = match sealing {
            Sealing::Awaited => Trouble::Locked(None),
            Sealing::Clear | Sealing::Root(_) => Trouble::Closed,
        };
        Self {
            disk,
            sealing,
            max_bytes,
            rerun,
            store: Err(why),
            next: None,
            live: BTreeMap::new(),
            bytes: 0,
            written: BTreeSet::new(),
            dirty: BTreeSet::new(),
            done: BTreeMap::new(),
            done_count: 0,
            repeatable: BTreeSet::new(),
            known: Known::default(),
            was_full: false,
            set_aside: None,
        }
    }

    /// Whether the sealing root is still to come. Nothing touches the disk before.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.sealing, Sealing::Awaited)
    }

    /// The sealing root that is awaited, or why it is not there.
    pub(crate) fn unlock(&mut self, root: Result<SealingRoot, Code>) {
        if !self.is_locked() {
            return;
        }
        match root {
            Ok(root) => self.sealing = Sealing::Root(root),
            Err(code) => self.store = Err(Trouble::Locked(Some(code))),
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
                Ok(_) if self.is_at_bound() => State::Failing(Trouble::Bound(self.max_bytes)),
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
        if self.is_open() || self.is_locked() {
            return Ok(Vec::new());
        }
        let opened = match self.opened() {
            Err(Failure::Trouble(why @ (Trouble::Damaged(_) | Trouble::Breach(_)))) => {
                self.begin_anew(&why)
            }
            opened => opened,
        };
        match opened {
            Ok((store, found)) => {
                if !matches!(self.store, Err(Trouble::Closed | Trouble::Locked(_))) {
                    info!("The outbox can be written again");
                }
                self.done_count = store.done();
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

    fn opened(&mut self) -> Result<(Store, Found), Failure> {
        let root = match &self.sealing {
            Sealing::Root(root) => Some(root),
            Sealing::Clear | Sealing::Awaited => None,
        };
        Store::open(&mut *self.disk, root, &mut self.known)
    }

    fn begin_anew(&mut self, why: &Trouble) -> Result<(Store, Found), Failure> {
        let aside = match self.disk.set_aside(why) {
            Ok(aside) => aside,
            Err(error) => {
                let trouble = match why {
                    Trouble::Breach(_) => why.clone(),
                    _ => Trouble::damaged(&error),
                };
                // Once, and not at each try.
                if !matches!(&self.store, Err(known) if *known == trouble) {
                    error!(
                        "The store of the outbox is not gone on with: {why}. It cannot be set aside: {error}"
                    );
                }
                return Err(trouble.into());
            }
        };
        error!(
            "The store of the outbox is not gone on with: {why}. It is set aside as {}, and a new one is begun: the \
             tasks in it are not answered, and ids that must not run again are forgotten with it",
            aside.display()
        );
        self.set_aside = Some((aside, why.word()));
        self.written.clear();
        self.dirty.clear();
        self.known.set_aside();
        self.opened()
    }

    fn take_over(&mut self, found: Found) -> Vec<(u64, Entry)> {
        let last = found.entries.keys().next_back().copied();
        let next = last.map_or(1, |last| last.saturating_add(1));
        self.next = Some(self.next.map_or(next, |known| known.max(next)));
        // What is not there any more, whatever became of it, is written again.
        let missing = self.live.keys().copied();
        self.dirty
            .extend(missing.filter(|number| !found.entries.contains_key(number)));
        let mut recovered = Vec::new();
        for (number, entry) in found.entries {
            // What this process wrote it knows, also when it has changed or forgotten it since.
            if self.written.insert(number) {
                self.bytes = self.bytes.saturating_add(entry.size());
                self.live.insert(number, entry.clone());
                recovered.push((number, entry));
            } else if self.live.get(&number) != Some(&entry) {
                self.dirty.insert(number);
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
        if self.is_at_bound() {
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
        // What is removed makes room for the rest, but only once it is committed.
        if self.was_full {
            self.write(Part::Removals)?;
        }
        self.write(Part::All)?;
        self.was_full = false;
        Ok(())
    }

    fn write(&mut self, part: Part) -> Result<(), Trouble> {
        let store = match &mut self.store {
            Ok(store) => store,
            Err(trouble) => return Err(trouble.clone()),
        };
        let entries = self.dirty.iter();
        let entries = entries.map(|number| (*number, self.live.get(number)));
        let done = self.done.iter().map(|(task, done)| (*task, *done));
        let changes = match part {
            Part::All => Changes {
                entries: entries.collect(),
                done: done.collect(),
            },
            Part::Removals => Changes {
                entries: entries.filter(|(_, entry)| entry.is_none()).collect(),
                done: Vec::new(),
            },
        };
        let applied = store.apply(&changes, &mut self.known);
        self.done_count = store.done();
        // A commit that failed may be on the disk all the same.
        for (number, entry) in &changes.entries {
            if entry.is_some() {
                self.written.insert(*number);
            } else if applied.is_ok() {
                self.written.remove(number);
            }
        }
        match applied {
            Ok(()) if part == Part::Removals => {
                let live = &self.live;
                self.dirty.retain(|number| live.contains_key(number));
                Ok(())
            }
            Ok(()) => {
                self.dirty.clear();
                self.done.clear();
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

    /// Whether the store holds what the settings allow, so that no task is taken. What runs is answered all the same.
    fn is_at_bound(&self) -> bool {
        self.total() >= self.max_bytes
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
        self.was_full |= trouble == Trouble::Full;
        self.store = Err(trouble);
    }
}

/// How much is written at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Removals,
}

fn task_digest(task: &str) -> TaskDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, task.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests;
