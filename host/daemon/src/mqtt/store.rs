//! What the outbox keeps its messages in.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;

/// One message that waits for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Names the record. Ids rise in the order in which messages were taken in.
    pub id: u64,
    /// The task that it is about.
    pub task: String,
    /// The message as it goes out. For an encrypted task it holds a JWE, ids and codes.
    pub payload: Bytes,
    /// It goes out no sooner than this.
    pub not_before: SystemTime,
}

/// Where the outbox keeps its records: small, and without an order or a schedule of its own.
///
/// No method fails. A store on a disk that is full or broken still keeps records in memory, since a result
/// that is delivered now and lost in a crash is better than one that is not delivered, and reports the
/// trouble itself.
pub trait Store: Send + 'static {
    /// Every record, in the order of ids. Asked once, at the start.
    fn load(&mut self) -> Vec<Record>;

    /// Keeps a record, in place of one with the same id.
    fn put(&mut self, record: Record);

    /// The record of this id.
    fn get(&self, id: u64) -> Option<Record>;

    /// Forgets a record.
    fn remove(&mut self, id: u64);
}

/// A store in memory, which ends with the process.
#[derive(Debug, Default)]
pub struct MemoryStore(BTreeMap<u64, Record>);

impl Store for MemoryStore {
    fn load(&mut self) -> Vec<Record> {
        self.0.values().cloned().collect()
    }

    fn put(&mut self, record: Record) {
        self.0.insert(record.id, record);
    }

    fn get(&self, id: u64) -> Option<Record> {
        self.0.get(&id).cloned()
    }

    fn remove(&mut self, id: u64) {
        self.0.remove(&id);
    }
}
