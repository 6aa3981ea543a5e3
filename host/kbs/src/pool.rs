//! The sessions of one client: the VM's own, and one for each component on whose behalf the KBS is asked.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::Requester;
use crate::session::{Session, Sessions};

/// The most components that have a session at the same time. Beyond it the one that was used longest ago
/// attests anew when it comes back.
const MAX_REQUESTERS: usize = 1024;

pub(crate) struct Pool {
    generation: Arc<AtomicU64>,
    /// The VM's own.
    own: Arc<Sessions>,
    bound: Mutex<Bound>,
}

#[derive(Default)]
struct Bound {
    clock: u64,
    sessions: HashMap<Requester, Entry>,
}

struct Entry {
    sessions: Arc<Sessions>,
    used: u64,
}

impl Default for Pool {
    fn default() -> Self {
        let generation = Arc::default();
        Self {
            own: Arc::new(Sessions::new(Arc::clone(&generation))),
            generation,
            bound: Mutex::default(),
        }
    }
}

impl Pool {
    /// Where the sessions of a component are made and found; the VM's own for none.
    pub(crate) fn of(&self, requester: Option<&Requester>) -> Arc<Sessions> {
        let Some(requester) = requester else {
            return Arc::clone(&self.own);
        };
        let mut bound = self.lock();
        bound.clock += 1;
        let now = bound.clock;
        if let Some(entry) = bound.sessions.get_mut(requester) {
            entry.used = now;
            return Arc::clone(&entry.sessions);
        }
        if bound.sessions.len() >= MAX_REQUESTERS {
            bound.make_room();
        }
        let sessions = Arc::new(Sessions::new(Arc::clone(&self.generation)));
        let entry = Entry {
            sessions: Arc::clone(&sessions),
            used: now,
        };
        bound.sessions.insert(requester.clone(), entry);
        sessions
    }

    /// The live session of a component, or the VM's own.
    pub(crate) fn live(&self, requester: Option<&Requester>) -> Option<Arc<Session>> {
        let Some(requester) = requester else {
            return self.own.live();
        };
        let bound = self.lock();
        bound.sessions.get(requester)?.sessions.live()
    }

    fn lock(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bound {
    /// Drops what nobody can use any more, or else what was used longest ago.
    fn make_room(&mut self) {
        self.sessions.retain(|_, entry| !entry.sessions.is_idle());
        if self.sessions.len() < MAX_REQUESTERS {
            return;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(oldest) = oldest.map(|(requester, _)| requester.clone()) {
            self.sessions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proplet_types::Digest;

    use super::*;

    fn requester(number: usize) -> Requester {
        Requester {
            component_digest: Some(Digest::of(&number.to_le_bytes())),
            ..Requester::default()
        }
    }

    #[test]
    fn a_component_finds_its_own_sessions_and_no_others() {
        let pool = Pool::default();
        let first = pool.of(Some(&requester(1)));
        assert!(Arc::ptr_eq(&first, &pool.of(Some(&requester(1)))));
        assert!(!Arc::ptr_eq(&first, &pool.of(Some(&requester(2)))));
        assert!(!Arc::ptr_eq(&first, &pool.of(None)));
        // The same component from another image is another requester.
        let elsewhere = Requester {
            image_digest: Some(Digest::of(b"image")),
            ..requester(1)
        };
        assert!(!Arc::ptr_eq(&first, &pool.of(Some(&elsewhere))));
        assert!(pool.live(Some(&requester(1))).is_none());
    }

    #[test]
    fn the_number_of_components_is_bounded() {
        let pool = Pool::default();
        for number in 0..MAX_REQUESTERS + 10 {
            pool.of(Some(&requester(number)));
        }
        assert!(pool.lock().sessions.len() <= MAX_REQUESTERS);
    }
}
