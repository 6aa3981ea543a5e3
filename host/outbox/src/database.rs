//! The tables in redb, and what goes in and out of them in one transaction.

mod whole;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    Table, TableDefinition,
};

use crate::{
    disk::{Disk, Failure},
    entry::Entry,
    seal::{Breach, Known, SEALED, Sealed, SealingRoot, Writing},
    trouble::Trouble,
};

/// SHA-256 of a task's id.
pub(crate) type TaskDigest = [u8; 32];

/// Entries by number.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Digests of the ids that must not run again; MACs of those in a sealed store.
const DONE: TableDefinition<'_, &[u8; 32], ()> = TableDefinition::new("done");
/// The header of a sealed store; nothing in another.
const SEAL: TableDefinition<'_, (), &[u8]> = TableDefinition::new("seal");
/// Memory for pages. What is read is in the process's memory anyway.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Numbers count up from 1, so no store of ours comes to this one. From the last number on, entries would share it.
const MAX_NUMBER: u64 = u64::MAX / 2;
/// Ahead of an entry in the clear.
const CLEAR: u8 = 0;

/// An open store.
pub(crate) struct Store {
    database: Database,
    sealed: Option<Sealed>,
    /// How many ids must not run again.
    done: u64,
}

/// What was in a store when it was opened.
#[derive(Default)]
pub(crate) struct Found {
    pub entries: BTreeMap<u64, Entry>,
    /// How many ids must not run again.
    done: u64,
}

/// One transaction: a value to put, or none to remove.
#[derive(Default)]
pub(crate) struct Changes<'a> {
    pub entries: Vec<(u64, Option<&'a Entry>)>,
    pub done: Vec<(TaskDigest, bool)>,
}

impl Store {
    /// Opens the store of a disk, or makes it, and reads it whole. Every checksum is verified, and with a root every
    /// seal. A sealed store that is not as this process left it is refused.
    pub(crate) fn open(
        disk: &mut dyn Disk,
        root: Option<&SealingRoot>,
        known: &mut Known,
    ) -> Result<(Self, Found), Failure> {
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true);
        let database = catch_unwind(AssertUnwindSafe(|| disk.database(&builder)))
            .unwrap_or_else(|_| Err(broken().into()))?;
        let (sealed, found) = guarded(|| {
            let mut sealed = begin(&database, root, known)?;
            let found = read(&database, sealed.as_mut())?;
            if let Some(sealed) = &sealed {
                known.take(sealed.moment())?;
            }
            Ok((sealed, found))
        })?;
        let store = Self {
            database,
            sealed,
            done: found.done,
        };
        Ok((store, found))
    }

    /// How many ids must not run again.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Makes changes, and ends when they are on the disk. After an error the store has to be opened anew, and is as it
    /// was or as it would have become.
    ///
    /// In a sealed store the disk has to say of each record what is known here: whether it was there before.
    pub(crate) fn apply(
        &mut self,
        changes: &Changes<'_>,
        known: &mut Known,
    ) -> Result<(), Trouble> {
        let Self {
            database,
            sealed,
            done: count,
        } = self;
        guarded(|| {
            let transaction = database.begin_write()?;
            let mut done_now = *count;
            {
                let mut sealing = sealed.as_mut().map(Sealed::writing).transpose()?;
                let mut entries = transaction.open_table(ENTRIES)?;
                for (number, entry) in &changes.entries {
                    change_entry(&mut entries, sealing.as_mut(), *number, *entry)?;
                }
                let mut done = transaction.open_table(DONE)?;
                for (task, is_done) in &changes.done {
                    let was_done = change_done(&mut done, sealing.as_mut(), task, *is_done)?;
                    done_now = match (was_done, *is_done) {
                        (false, true) => done_now.saturating_add(1),
                        (true, false) => done_now.saturating_sub(1),
                        _ => done_now,
                    };
                }
                if let Some(sealing) = sealing {
                    let old = entries.insert(Sealed::HEAD, sealing.head()?.as_slice())?;
                    agree(old.is_some(), Some(true))?;
                }
            }
            if let Some(sealed) = sealed {
                known.attempt(sealed.moment());
            }
            transaction.commit()?;
            known.landed();
            *count = done_now;
            Ok(())
        })
    }

    /// Whether a task must not run again.
    pub(crate) fn is_done(&self, task: &TaskDigest) -> Result<bool, Trouble> {
        if let Some(sealed) = &self.sealed {
            return Ok(sealed.is_done(task));
        }
        guarded(|| {
            let transaction = self.database.begin_read()?;
            Ok(transaction.open_table(DONE)?.get(task)?.is_some())
        })
    }
}

/// Puts an entry in its table, or removes it.
fn change_entry(
    entries: &mut Table<'_, u64, &'static [u8]>,
    sealing: Option<&mut Writing<'_>>,
    number: u64,
    entry: Option<&Entry>,
) -> Result<(), Trouble> {
    let Some(entry) = entry else {
        let was_there = entries.remove(number)?.is_some();
        return Ok(agree(
            was_there,
            sealing.map(|sealing| sealing.forget(number)),
        )?);
    };
    let text = entry
        .encode()
        .map_err(|error| Trouble::Io(error.to_string()))?;
    let (bytes, was_known) = match sealing {
        Some(sealing) => {
            let (bytes, was_known) = sealing.entry(number, &text)?;
            (bytes, Some(was_known))
        }
        None => ([&[CLEAR], text.as_slice()].concat(), None),
    };
    let was_there = entries.insert(number, bytes.as_slice())?.is_some();
    Ok(agree(was_there, was_known)?)
}

/// Puts an id among those that must not run again, or takes it from them: whether it was one.
fn change_done(
    done: &mut Table<'_, &'static [u8; 32], ()>,
    sealing: Option<&mut Writing<'_>>,
    task: &TaskDigest,
    is_done: bool,
) -> Result<bool, Trouble> {
    let name = sealing.as_ref().map_or(*task, |sealing| sealing.name(task));
    let was_done = if is_done {
        done.insert(&name, ())?.is_some()
    } else {
        done.remove(&name)?.is_some()
    };
    agree(
        was_done,
        sealing.map(|sealing| sealing.done(&name, is_done)),
    )?;
    Ok(was_done)
}

/// Passes when the disk says what is known, where something is.
fn agree(on_disk: bool, known: Option<bool>) -> Result<(), Breach> {
    match known {
        Some(known) if known != on_disk => Err(Breach::Incomplete),
        _ => Ok(()),
    }
}

/// Makes what a new store lacks, and looks whether one that was there is sealed as it should be.
fn begin(
    database: &Database,
    root: Option<&SealingRoot>,
    known: &mut Known,
) -> Result<Option<Sealed>, Trouble> {
    let transaction = database.begin_write()?;
    let sealed = {
        let mut entries = transaction.open_table(ENTRIES)?;
        let done = transaction.open_table(DONE)?;
        let mut seal = transaction.open_table(SEAL)?;
        let header = seal.get(())?.map(|header| header.value().to_vec());
        match (root, header) {
            (None, None) => None,
            (None, Some(_)) => return Err(Breach::NoRoot.into()),
            (Some(root), Some(header)) => Some(Sealed::resume(root, &header)?),
            (Some(_), None) if !entries.is_empty()? || !done.is_empty()? => {
                return Err(Breach::NotSealed.into());
            }
            (Some(root), None) => {
                known.takes_new()?;
                let mut sealed = Sealed::begin(root)?;
                seal.insert((), sealed.header()?.as_slice())?;
                let head = sealed.writing()?.head()?;
                entries.insert(Sealed::HEAD, head.as_slice())?;
                known.attempt(sealed.moment());
                // Read like any other, from the start.
                Some(Sealed::resume(root, &sealed.header()?)?)
            }
        }
    };
    transaction.commit()?;
    Ok(sealed)
}

/// Reads a store whole.
fn read(database: &Database, mut sealed: Option<&mut Sealed>) -> Result<Found, Trouble> {
    let transaction = database.begin_read()?;
    let entries = transaction.open_table(ENTRIES)?;
    let done = transaction.open_table(DONE)?;
    let mut found = Found::default();
    let mut head = None;
    whole::each(&entries, |number, bytes| {
        if number == Sealed::HEAD && sealed.is_some() {
            head = Some(bytes.to_vec());
            return Ok(());
        }
        if number > MAX_NUMBER {
            return Err(Trouble::damaged(
                &"an entry has a number that no count comes to",
            ));
        }
        let entry = decode(sealed.as_deref_mut(), number, bytes)?;
        found.entries.insert(number, entry);
        Ok(())
    })?;
    if let Some(sealed) = sealed {
        whole::each(&done, |name, ()| {
            sealed.read_done(name);
            Ok(())
        })?;
        sealed.check(head.as_deref())?;
        found.done = sealed.done();
    } else {
        found.done = done.len()?;
    }
    Ok(found)
}

fn decode(sealed: Option<&mut Sealed>, number: u64, bytes: &[u8]) -> Result<Entry, Trouble> {
    let entry = match (bytes.split_first(), sealed) {
        (Some((&CLEAR, text)), None) => Entry::decode(text),
        (Some((&SEALED, _)), None) => return Err(Breach::NoRoot.into()),
        (_, None) => return Err(Trouble::damaged(&"an entry has no known form")),
        // Whoever has the disk could put an entry in the clear in place of a sealed one: it does not open.
        (_, Some(sealed)) => Entry::decode(&sealed.read(number, bytes)?),
    };
    entry.map_err(|error| Trouble::damaged(&error))
}

/// Damage that nobody foresaw makes the library panic: that must not take the writing thread with it.
fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(broken()))
}

fn broken() -> Trouble {
    Trouble::damaged(&"the store broke down while it was read or written")
}

#[cfg(test)]
mod tests;
