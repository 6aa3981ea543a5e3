//! The tables in redb, and what goes in and out of them in one transaction.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

use crate::{
    disk::{Disk, Failure},
    entry::Entry,
    seal::Seal,
    trouble::Trouble,
};

/// SHA-256 of a task's id.
pub(crate) type TaskDigest = [u8; 32];

/// Entries by number.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Digests of the ids that must not run again.
const DONE: TableDefinition<'_, &[u8; 32], ()> = TableDefinition::new("done");
/// Memory for pages. What is read is in the process's memory anyway.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Numbers count up from 1, so no store of ours comes to this one. From the last number on, entries would share it.
const MAX_NUMBER: u64 = u64::MAX / 2;
/// Ahead of an entry in the clear.
const CLEAR: u8 = 0;
/// Ahead of a sealed one.
const SEALED: u8 = 1;

/// An open store.
pub(crate) struct Store {
    database: Database,
    seal: Option<Arc<dyn Seal>>,
}

/// What was in a store when it was opened.
#[derive(Default)]
pub(crate) struct Found {
    pub entries: BTreeMap<u64, Entry>,
    /// How many ids must not run again.
    pub done: u64,
}

/// One transaction: a value to put, or none to remove.
#[derive(Default)]
pub(crate) struct Changes<'a> {
    pub entries: Vec<(u64, Option<&'a Entry>)>,
    pub done: Vec<(TaskDigest, bool)>,
}

impl Store {
    /// Opens the store of a disk, or makes it, and reads it whole. Every checksum is verified.
    pub(crate) fn open(
        disk: &mut dyn Disk,
        seal: Option<Arc<dyn Seal>>,
    ) -> Result<(Self, Found), Failure> {
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true);
        let database = catch_unwind(AssertUnwindSafe(|| disk.database(&builder)))
            .unwrap_or_else(|_| Err(broken().into()))?;
        let store = Self { database, seal };
        let found = guarded(|| store.read())?;
        Ok((store, found))
    }

    fn read(&self) -> Result<Found, Trouble> {
        // Makes the tables of a new store.
        let transaction = self.database.begin_write()?;
        transaction.open_table(ENTRIES)?;
        transaction.open_table(DONE)?;
        transaction.commit()?;
        let transaction = self.database.begin_read()?;
        let mut found = Found {
            done: transaction.open_table(DONE)?.len()?,
            ..Found::default()
        };
        for item in transaction.open_table(ENTRIES)?.iter()? {
            let (number, bytes) = item?;
            let number = number.value();
            if number > MAX_NUMBER {
                return Err(Trouble::damaged(
                    &"an entry has a number that no count comes to",
                ));
            }
            found
                .entries
                .insert(number, self.decode(number, bytes.value())?);
        }
        Ok(found)
    }

    /// Makes changes, and ends when they are on the disk.
    pub(crate) fn apply(&self, changes: &Changes<'_>) -> Result<(), Trouble> {
        guarded(|| {
            let transaction = self.database.begin_write()?;
            {
                let mut entries = transaction.open_table(ENTRIES)?;
                for (number, entry) in &changes.entries {
                    match entry {
                        Some(entry) => {
                            let bytes = self.encode(*number, entry)?;
                            entries.insert(*number, bytes.as_slice())?;
                        }
                        None => drop(entries.remove(*number)?),
                    }
                }
                let mut done = transaction.open_table(DONE)?;
                for (task, is_done) in &changes.done {
                    if *is_done {
                        done.insert(task, ())?;
                    } else {
                        done.remove(task)?;
                    }
                }
            }
            Ok(transaction.commit()?)
        })
    }

    /// Whether a task must not run again.
    pub(crate) fn is_done(&self, task: &TaskDigest) -> Result<bool, Trouble> {
        guarded(|| {
            let transaction = self.database.begin_read()?;
            Ok(transaction.open_table(DONE)?.get(task)?.is_some())
        })
    }

    fn encode(&self, number: u64, entry: &Entry) -> Result<Vec<u8>, Trouble> {
        let text = entry
            .encode()
            .map_err(|error| Trouble::Io(error.to_string()))?;
        let (form, text) = match &self.seal {
            None => (CLEAR, text),
            Some(seal) => {
                let sealed = seal
                    .seal(number, &text)
                    .map_err(|error| Trouble::Io(error.to_string()))?;
                (SEALED, sealed)
            }
        };
        Ok([&[form], text.as_slice()].concat())
    }

    fn decode(&self, number: u64, bytes: &[u8]) -> Result<Entry, Trouble> {
        let entry = match (bytes.split_first(), &self.seal) {
            (Some((&CLEAR, text)), None) => Entry::decode(text),
            (Some((&SEALED, sealed)), Some(seal)) => {
                let text = seal
                    .open(number, sealed)
                    .map_err(|error| Trouble::damaged(&error))?;
                Entry::decode(&text)
            }
            // Whoever has the disk could put an entry in the clear in place of a sealed one.
            (Some((&CLEAR, _)), Some(_)) => {
                return Err(Trouble::damaged(&"an entry is not sealed, and should be"));
            }
            (Some((&SEALED, _)), None) => {
                return Err(Trouble::damaged(&"an entry is sealed, and there is no key"));
            }
            _ => return Err(Trouble::damaged(&"an entry has no known form")),
        };
        entry.map_err(|error| Trouble::damaged(&error))
    }
}

/// Damage that nobody foresaw makes the library panic: that must not take the writing thread with it.
fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(broken()))
}

fn broken() -> Trouble {
    Trouble::damaged(&"the store broke down while it was read or written")
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::{crashes::Power, entry::Answer, seal::KeySeal};

    fn seal(byte: u8) -> Option<Arc<dyn Seal>> {
        Some(Arc::new(KeySeal::new(&Zeroizing::new([byte; 32])).unwrap()))
    }

    fn entry() -> Entry {
        Entry {
            task: "a task".to_owned(),
            answer: Some(Answer::Kept("a marker".into())),
        }
    }

    fn written(power: &Power, seal: Option<Arc<dyn Seal>>) {
        let (store, found) = Store::open(&mut power.disk(), seal).unwrap();
        assert!(found.entries.is_empty());
        let entry = entry();
        let changes = Changes {
            entries: vec![(3, Some(&entry))],
            done: vec![([9; 32], true)],
        };
        store.apply(&changes).unwrap();
        assert!(store.is_done(&[9; 32]).unwrap());
        assert!(!store.is_done(&[8; 32]).unwrap());
    }

    fn trouble(power: &Power, seal: Option<Arc<dyn Seal>>) -> Trouble {
        match Store::open(&mut power.disk(), seal) {
            Err(Failure::Trouble(trouble)) => trouble,
            Err(Failure::Fatal(error)) => panic!("{error}"),
            Ok(_) => panic!("it opened"),
        }
    }

    #[test]
    fn sealed_entries_lie_sealed_and_open_under_their_key_only() {
        let power = Power::default();
        written(&power, seal(1));
        assert!(!power.holds(b"a marker") && !power.holds(b"a task"));
        let (_, found) = Store::open(&mut power.disk(), seal(1)).unwrap();
        assert_eq!(found.entries[&3], entry());
        assert_eq!(found.done, 1);
        for seal in [seal(2), None] {
            assert_eq!(trouble(&power, seal).word(), "damaged");
        }
    }

    #[test]
    fn an_entry_with_the_last_number_is_not_one_of_ours() {
        let power = Power::default();
        let (store, _) = Store::open(&mut power.disk(), None).unwrap();
        let entry = entry();
        let changes = Changes {
            entries: vec![(u64::MAX, Some(&entry))],
            done: Vec::new(),
        };
        store.apply(&changes).unwrap();
        drop(store);
        let trouble = trouble(&power, None);
        assert!(trouble.to_string().contains("number"), "{trouble}");
    }

    #[test]
    fn an_entry_in_the_clear_does_not_pass_for_a_sealed_one() {
        let power = Power::default();
        written(&power, None);
        assert!(power.holds(b"a marker"));
        let trouble = trouble(&power, seal(1));
        assert!(trouble.to_string().contains("not sealed"), "{trouble}");
    }
}
