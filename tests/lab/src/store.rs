//! An outbox's store that tells what is in it.

use proplet_daemon::mqtt::store::{MemoryStore, Record, Store};
use tokio::sync::watch;

/// A store in memory that tells which tasks' messages wait in it.
pub struct WatchedStore {
    inner: MemoryStore,
    waiting: watch::Sender<Vec<String>>,
}

impl WatchedStore {
    /// An empty store, and the ids of the tasks in it, in the order in which they came.
    pub fn new() -> (Self, watch::Receiver<Vec<String>>) {
        let (waiting, tasks) = watch::channel(Vec::new());
        let store = Self {
            inner: MemoryStore::default(),
            waiting,
        };
        (store, tasks)
    }

    fn tell(&mut self) {
        let records = self.inner.load().into_iter();
        self.waiting
            .send_replace(records.map(|record| record.task).collect());
    }
}

impl Store for WatchedStore {
    fn load(&mut self) -> Vec<Record> {
        self.inner.load()
    }

    fn put(&mut self, record: Record) {
        self.inner.put(record);
        self.tell();
    }

    fn get(&self, id: u64) -> Option<Record> {
        self.inner.get(id)
    }

    fn remove(&mut self, id: u64) {
        self.inner.remove(id);
        self.tell();
    }
}
