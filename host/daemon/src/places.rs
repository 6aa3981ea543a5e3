//! Who runs next.
//!
//! Tasks come from one Manager for owners who do not know each other, so what one of them sends must not hold up the
//! others. An owner is the repository of the key that an image was opened with, known once it was; all other encrypted
//! images share one part, and so do all plain tasks, since nobody vouches for whose they are.
//!
//! A free place goes to whoever runs the fewest tasks, in turn among equals. Where all are taken and one owner at most
//! is among those who hold them, the first task of another owner has one over the count, so that no owner waits for
//! the tasks of one which run as long as they may. It is for owners only: anybody can send plain tasks and images that
//! were never opened, so they would take it for whoever holds the rest. Two owners who act together can hold it too.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

/// Whose a task is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Encrypted under a key of this repository.
    Named(Arc<str>),
    /// Encrypted, and never opened here so far.
    Unknown,
    /// In clear.
    Plain,
}

impl Owner {
    pub(super) fn is_named(&self) -> bool {
        matches!(self, Self::Named(_))
    }
}

/// The places in which tasks run.
#[derive(Clone)]
pub(super) struct Places(Arc<Mutex<State>>);

struct State {
    most: usize,
    running: HashMap<Owner, usize>,
    waiting: HashMap<Owner, VecDeque<oneshot::Sender<Place>>>,
    /// Those who wait; whoever is first has its turn among equals.
    turns: VecDeque<Owner>,
}

/// A place. Dropping it lets the next task run.
pub(super) struct Place {
    places: Places,
    owner: Owner,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most: most.max(1),
            running: HashMap::new(),
            waiting: HashMap::new(),
            turns: VecDeque::new(),
        })))
    }

    /// A place, when its owner's turn comes.
    pub(super) async fn acquire(&self, owner: Owner) -> Place {
        let place = {
            let mut state = self.lock();
            let (sender, place) = oneshot::channel();
            let waiting = state.waiting.entry(owner.clone()).or_default();
            waiting.push_back(sender);
            if waiting.len() == 1 {
                state.turns.push_back(owner.clone());
            }
            place
        };
        self.hand_out();
        // The sender stays until it has sent.
        place.await.unwrap_or_else(|_| Place {
            places: self.clone(),
            owner,
        })
    }

    /// A place, if its owner can have one now.
    pub(super) fn try_acquire(&self, owner: Owner) -> Option<Place> {
        // Who is not given one at once leaves the queue.
        self.acquire(owner).now_or_never()
    }

    /// Gives places to those whose turn it is.
    fn hand_out(&self) {
        loop {
            let (sender, place) = {
                let mut state = self.lock();
                let Some((owner, sender)) = state.next() else {
                    return;
                };
                state.enter(&owner);
                let places = self.clone();
                (sender, Place { places, owner })
            };
            // Who does not wait any more drops the place, which comes back here; not under the lock.
            drop(sender.send(place));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who has the next place, if there is one.
    fn next(&mut self) -> Option<(Owner, oneshot::Sender<Place>)> {
        self.leave();
        let index = if self.total() < self.most {
            let turns = self.turns.iter().enumerate();
            turns
                .min_by_key(|(index, owner)| (self.runs(owner), *index))?
                .0
        } else {
            self.turns.iter().position(|owner| self.is_for(owner))?
        };
        let owner = self.turns.remove(index)?;
        let waiting = self.waiting.get_mut(&owner)?;
        let sender = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&owner);
        } else {
            self.turns.push_back(owner.clone());
        }
        Some((owner, sender))
    }

    /// Whether this owner can have a place.
    fn is_for(&self, owner: &Owner) -> bool {
        let total = self.total();
        let is_over_the_count = total == self.most && self.most > 1 && self.owners() <= 1;
        total < self.most || is_over_the_count && owner.is_named() && self.runs(owner) == 0
    }

    /// How many tasks run.
    fn total(&self) -> usize {
        self.running.values().sum()
    }

    /// How many of this owner's do.
    fn runs(&self, owner: &Owner) -> usize {
        self.running.get(owner).copied().unwrap_or(0)
    }

    /// Gives a place to this owner.
    fn enter(&mut self, owner: &Owner) {
        let running = self.running.entry(owner.clone()).or_default();
        *running = running.saturating_add(1);
    }

    /// Takes it back.
    fn exit(&mut self, owner: &Owner) {
        if let Some(running) = self.running.get_mut(owner) {
            *running = running.saturating_sub(1);
            if *running == 0 {
                self.running.remove(owner);
            }
        }
    }

    /// How many owners run anything.
    fn owners(&self) -> usize {
        self.running.keys().filter(|owner| owner.is_named()).count()
    }

    /// Forgets those who do not wait any more.
    fn leave(&mut self) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|sender| !sender.is_closed());
            !waiting.is_empty()
        });
        let waiting = &self.waiting;
        self.turns.retain(|owner| waiting.contains_key(owner));
    }
}

impl Place {
    /// The same place for the owner who turns out to be the one, if that one can have it. Otherwise the place is free
    /// again.
    pub(super) fn charge(mut self, owner: Owner) -> Option<Self> {
        let is_for = {
            let mut state = self.places.lock();
            state.exit(&self.owner);
            let is_for = state.is_for(&owner);
            state.enter(if is_for { &owner } else { &self.owner });
            is_for
        };
        if !is_for {
            return None;
        }
        self.owner = owner;
        // Somebody may have a place over the count now.
        self.places.hand_out();
        Some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().exit(&self.owner);
        self.places.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Owner {
        Owner::Named(name.into())
    }

    #[tokio::test]
    async fn places_are_bounded_and_go_round() {
        let places = Places::new(2);
        let first = places.acquire(named("a")).await;
        let second = places.acquire(named("b")).await;
        let mut waiting: Vec<_> = ["a", "a", "c"]
            .map(|name| Box::pin(places.acquire(named(name))))
            .into();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        // The one who runs nothing comes first, though it came last.
        drop(second);
        let third = waiting.pop().unwrap().now_or_never().unwrap();
        assert_eq!(third.owner, named("c"));
        drop(third);
        let mut later = waiting.pop().unwrap();
        assert!(later.as_mut().now_or_never().is_none());
        let fourth = waiting.pop().unwrap().now_or_never().unwrap();
        assert!(later.as_mut().now_or_never().is_none());
        drop((first, fourth));
        later.now_or_never().unwrap();
    }

    #[tokio::test]
    async fn who_holds_all_places_keeps_nobody_else_waiting() {
        let places = Places::new(2);
        let hogs = [
            places.acquire(Owner::Plain).await,
            places.acquire(Owner::Plain).await,
        ];
        let modest = places.acquire(named("a")).now_or_never().unwrap();
        // One over the count, and no more.
        let mut another = Box::pin(places.acquire(named("b")));
        assert!(another.as_mut().now_or_never().is_none());
        drop(modest);
        another.now_or_never().unwrap();
        drop(hogs);
        // With a single place there is none to give.
        let single = Places::new(1);
        let _hog = single.acquire(Owner::Plain).await;
        assert!(single.acquire(named("a")).now_or_never().is_none());
    }

    /// An owner who holds all places cannot take the one over the count as somebody nobody vouches for, nor have
    /// those count as owners.
    #[tokio::test]
    async fn the_place_over_the_count_is_for_another_owner_only() {
        for filler in [Owner::Plain, Owner::Unknown] {
            let places = Places::new(2);
            let _hogs = [
                places.acquire(named("hog")).await,
                places.acquire(named("hog")).await,
            ];
            let mut filling = Box::pin(places.acquire(filler.clone()));
            assert!(filling.as_mut().now_or_never().is_none());
            assert!(places.acquire(named("hog")).now_or_never().is_none());
            let _modest = places.acquire(named("a")).now_or_never().unwrap();
            assert!(filling.as_mut().now_or_never().is_none());

            let places = Places::new(2);
            let _hogs = [
                places.acquire(filler).await,
                places.acquire(named("hog")).await,
            ];
            let _modest = places.acquire(named("a")).now_or_never().unwrap();
            // One over the count in all.
            assert!(places.acquire(named("b")).now_or_never().is_none());
        }
        let places = Places::new(2);
        let _hogs = [
            places.acquire(Owner::Plain).await,
            places.acquire(Owner::Unknown).await,
        ];
        places.acquire(named("a")).now_or_never().unwrap();
    }

    #[test]
    fn who_does_not_wait_is_given_a_place_or_none() {
        let places = Places::new(2);
        let held = [
            places.try_acquire(named("a")).unwrap(),
            places.try_acquire(named("a")).unwrap(),
        ];
        assert!(places.try_acquire(named("a")).is_none());
        assert!(places.try_acquire(Owner::Plain).is_none());
        let other = places.try_acquire(named("b")).unwrap();
        assert!(places.lock().waiting.values().all(VecDeque::is_empty));
        drop((held, other));
        assert!(places.try_acquire(Owner::Plain).is_some());
    }

    #[test]
    fn a_place_is_charged_to_whoever_turns_out_to_have_it() {
        let places = Places::new(2);
        let first = places.try_acquire(named("alice")).unwrap();
        let second = places.try_acquire(Owner::Unknown).unwrap();
        // Neither was who it was taken for.
        let first = first.charge(named("mallory")).unwrap();
        let second = second.charge(named("mallory")).unwrap();
        assert_eq!(places.lock().running, [(named("mallory"), 2)].into());
        // The place over the count is another owner's, and not by that owner's name.
        let third = places.try_acquire(named("alice")).unwrap();
        assert!(third.charge(named("mallory")).is_none());
        let third = places.try_acquire(named("alice")).unwrap();
        assert!(third.charge(Owner::Unknown).is_none());
        let third = places.try_acquire(named("alice")).unwrap();
        let third = third.charge(named("bob")).unwrap();
        assert!(places.try_acquire(named("alice")).is_none());
        drop((first, second, third));
        assert!(places.lock().running.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_has_the_place_that_a_charge_makes() {
        let places = Places::new(2);
        let _first = places.acquire(named("mallory")).await;
        let second = places.acquire(named("alice")).await;
        let mut waits = Box::pin(places.acquire(named("bob")));
        assert!(waits.as_mut().now_or_never().is_none());
        let _second = second.charge(named("mallory")).unwrap();
        waits.now_or_never().unwrap();
    }

    #[tokio::test]
    async fn who_leaves_is_forgotten_behind_one_who_stays() {
        let places = Places::new(1);
        let _held = places.acquire(Owner::Plain).await;
        let mut stays = Box::pin(places.acquire(Owner::Plain));
        assert!(stays.as_mut().now_or_never().is_none());
        for _ in 0..100 {
            assert!(places.acquire(Owner::Plain).now_or_never().is_none());
        }
        // The one who stays, and the last, whom nothing has looked for since.
        let waiting: usize = places.lock().waiting.values().map(VecDeque::len).sum();
        assert!((1..=2).contains(&waiting), "{waiting}");
    }

    #[tokio::test]
    async fn who_leaves_takes_no_place() {
        let places = Places::new(1);
        let held = places.acquire(Owner::Unknown).await;
        let mut leaves = Box::pin(places.acquire(Owner::Plain));
        assert!(leaves.as_mut().now_or_never().is_none());
        let mut stays = Box::pin(places.acquire(Owner::Plain));
        assert!(stays.as_mut().now_or_never().is_none());
        drop(leaves);
        drop(held);
        drop(stays.now_or_never().unwrap());
        assert!(places.lock().running.is_empty());
    }

    #[tokio::test]
    async fn a_place_that_nobody_took_goes_to_the_next() {
        let places = Places::new(1);
        let held = places.acquire(Owner::Plain).await;
        let mut given = Box::pin(places.acquire(Owner::Plain));
        assert!(given.as_mut().now_or_never().is_none());
        drop(held);
        // It was handed to somebody who left before looking.
        drop(given);
        places.acquire(named("a")).now_or_never().unwrap();
    }
}
