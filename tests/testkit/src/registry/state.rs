//! What a registry holds while it runs.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::access::{Access, Gate};
use super::counters::Counters;
use super::fault::{Fault, Target};
use super::quirk::{Quirk, Quirks};
use super::store::Store;

pub(super) struct State {
    pub(super) gate: Gate,
    store: Mutex<Store>,
    faults: Mutex<Vec<(Target, Fault, usize)>>,
    quirks: Mutex<Quirks>,
    token_queries: Mutex<Vec<String>>,
    challenge: Mutex<Option<String>>,
    pub(super) counters: Counters,
    /// How many requests have arrived.
    pub(super) requests: watch::Sender<u64>,
}

impl State {
    pub(super) fn new(access: Access, address: SocketAddr) -> Self {
        Self {
            gate: Gate::new(access, address.to_string()),
            store: Mutex::default(),
            faults: Mutex::default(),
            quirks: Mutex::default(),
            token_queries: Mutex::default(),
            challenge: Mutex::default(),
            counters: Counters::default(),
            requests: watch::Sender::default(),
        }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Vec<(Target, Fault, usize)>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn token_queries(&self) -> MutexGuard<'_, Vec<String>> {
        self.token_queries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The header that takes the place of the gate's own challenge.
    pub(super) fn challenge(&self) -> MutexGuard<'_, Option<String>> {
        self.challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn quirks(&self) -> MutexGuard<'_, Quirks> {
        self.quirks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, quirk: &Quirk) -> bool {
        self.quirks()
            .find(|had| (had == quirk).then_some(()))
            .is_some()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn fault(&self, fits: impl Fn(&Target) -> bool) -> Option<Fault> {
        let mut faults = self.faults();
        let (_, fault, times) = faults
            .iter_mut()
            .find(|(target, _, times)| *times > 0 && fits(target))?;
        *times = times.saturating_sub(1);
        Some(fault.clone())
    }
}
