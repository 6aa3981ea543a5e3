//! The sessions of one client: the VM's own, and one for each component on whose behalf the KBS is asked.
//!
//! Whoever starts tasks chooses the components, so there are only so many, and who loses a session for a new one is
//! decided among owners. An owner is the repository of what the KBS released in a session: what somebody asks for, and
//! is not given, makes nobody an owner. Sessions in which nothing was released go first; after them the owner with
//! the most loses the one that was used longest ago. So an owner with no more than an equal part loses nothing to
//! others.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::KbsError;
use crate::allowance::Allowance;
use crate::protocol::Requester;
use crate::session::{Session, Sessions};

/// The most components that have a session at the same time. Who loses it attests anew when it comes back.
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
    allowance: Allowance,
}

struct Entry {
    sessions: Arc<Sessions>,
    used: u64,
    /// The repository of what was released first; none before that.
    owner: Option<String>,
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
        if let Some(entry) = bound.used(requester) {
            return Arc::clone(&entry.sessions);
        }
        let now = bound.clock;
        if bound.sessions.len() >= MAX_REQUESTERS {
            bound.make_room();
        }
        let sessions = Arc::new(Sessions::new(Arc::clone(&self.generation)));
        let entry = Entry {
            sessions: Arc::clone(&sessions),
            used: now,
            owner: None,
        };
        bound.sessions.insert(requester.clone(), entry);
        sessions
    }

    /// The KBS released something of this repository in a session of this component.
    pub(crate) fn released(&self, requester: Option<&Requester>, repository: &str) {
        let Some(requester) = requester else {
            return;
        };
        let mut bound = self.lock();
        if let Some(entry) = bound.used(requester) {
            entry.owner.get_or_insert_with(|| repository.to_owned());
        }
    }

    /// Whether there may be a handshake now, for a component that is known to be this owner's.
    pub(crate) fn permit(
        &self,
        requester: Option<&Requester>,
        owner: Option<&str>,
    ) -> Result<(), KbsError> {
        let Some(requester) = requester else {
            return Ok(());
        };
        let mut bound = self.lock();
        let entry = bound.sessions.get(requester);
        if entry.is_some_and(|entry| entry.owner.is_some()) {
            return Ok(());
        }
        let spent = bound.allowance.spend(owner, Instant::now());
        spent.map_err(|wait| KbsError::Limited {
            seconds: wait
                .as_millis()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(u64::MAX),
        })
    }

    /// The live session of a component, which counts as used, or the VM's own.
    pub(crate) fn live(&self, requester: Option<&Requester>) -> Option<Arc<Session>> {
        let Some(requester) = requester else {
            return self.own.live();
        };
        self.lock().used(requester)?.sessions.live()
    }

    #[cfg(test)]
    pub(crate) fn owner(&self, requester: &Requester) -> Option<String> {
        self.lock().sessions.get(requester)?.owner.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bound {
    /// What a component has, which is used with this.
    fn used(&mut self, requester: &Requester) -> Option<&mut Entry> {
        self.clock += 1;
        let entry = self.sessions.get_mut(requester)?;
        entry.used = self.clock;
        Some(entry)
    }

    /// Drops what nobody can use any more, or else one of those that nothing was released to, or else one of the
    /// owner who has the most.
    fn make_room(&mut self) {
        self.sessions.retain(|_, entry| !entry.sessions.is_idle());
        if self.sessions.len() < MAX_REQUESTERS {
            return;
        }
        let mut held: BTreeMap<&str, usize> = BTreeMap::new();
        for owner in self
            .sessions
            .values()
            .filter_map(|entry| entry.owner.as_deref())
        {
            *held.entry(owner).or_default() += 1;
        }
        let largest = match self.sessions.values().any(|entry| entry.owner.is_none()) {
            true => None,
            false => held
                .iter()
                .max_by_key(|(_, entries)| **entries)
                .map(|(owner, _)| *owner),
        };
        let oldest = self
            .sessions
            .iter()
            .filter(|(_, entry)| entry.owner.as_deref() == largest)
            .min_by_key(|(_, entry)| entry.used);
        if let Some(oldest) = oldest.map(|(requester, _)| requester.clone()) {
            self.sessions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proplet_jose::jwk::PrivateKey;
    use proplet_types::Digest;
    use zeroize::Zeroizing;

    use super::*;
    use crate::session::Grant;

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

    /// Has a component attest, with a KBS that grants it at once.
    async fn attest(pool: &Pool, requester: &Requester) {
        let grant = || async {
            Ok(Grant {
                cookie: None,
                token: Zeroizing::new("token".to_owned()),
                key: PrivateKey::generate_x25519().unwrap(),
                obtained: Instant::now(),
                lifetime: Duration::from_secs(300),
            })
        };
        pool.of(Some(requester)).acquire(grant).await.ok().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_loses_no_session_to_another_who_has_more() {
        let pool = Pool::default();
        for number in 0..3 {
            attest(&pool, &requester(number)).await;
            pool.released(Some(&requester(number)), "few");
        }
        for number in 3..2 * MAX_REQUESTERS {
            attest(&pool, &requester(number)).await;
            pool.released(Some(&requester(number)), "many");
        }
        for number in 0..3 {
            assert!(pool.live(Some(&requester(number))).is_some(), "{number}");
        }
        assert!(pool.live(Some(&requester(3))).is_none());
        assert_eq!(pool.lock().sessions.len(), MAX_REQUESTERS);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_nothing_was_released_in_go_first() {
        let pool = Pool::default();
        for number in 0..MAX_REQUESTERS {
            attest(&pool, &requester(number)).await;
            pool.released(Some(&requester(number)), "owner");
        }
        // One place is lost to somebody, who then loses it to the next.
        for number in MAX_REQUESTERS..2 * MAX_REQUESTERS {
            attest(&pool, &requester(number)).await;
        }
        let lost =
            (0..MAX_REQUESTERS).filter(|number| pool.live(Some(&requester(*number))).is_none());
        assert_eq!(lost.collect::<Vec<_>>(), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_looked_at_is_used() {
        let pool = Pool::default();
        for number in 0..MAX_REQUESTERS {
            attest(&pool, &requester(number)).await;
        }
        assert!(pool.live(Some(&requester(0))).is_some());
        attest(&pool, &requester(MAX_REQUESTERS)).await;
        assert!(pool.live(Some(&requester(0))).is_some());
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
