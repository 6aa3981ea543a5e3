//! Owners take turns.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::places::Owner;

/// What waits, of each owner in an order of its own. Whoever has much of it holds up nobody but himself.
///
/// Adding, finding and removing take logarithmic time, and as many steps more as there are owners.
pub(super) struct Turns<K, V> {
    queues: HashMap<Owner, BTreeMap<K, V>>,
    /// Each owner of a queue once. The first has its turn.
    order: VecDeque<Owner>,
}

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Ord + Copy, V> Turns<K, V> {
    pub(super) fn insert(&mut self, owner: &Owner, key: K, value: V) {
        if !self.queues.contains_key(owner) {
            self.order.push_back(owner.clone());
        }
        let queue = self.queues.entry(owner.clone()).or_default();
        queue.insert(key, value);
    }

    pub(super) fn remove(&mut self, owner: &Owner, key: &K) -> Option<V> {
        let queue = self.queues.get_mut(owner)?;
        let value = queue.remove(key);
        if queue.is_empty() {
            self.queues.remove(owner);
            self.order.retain(|other| other != owner);
        }
        value
    }

    /// What is first of whoever has the next turn, among those whose first is ready. That owner's next turn comes behind
    /// those of all others.
    pub(super) fn next(&mut self, is_ready: impl Fn(&K) -> bool) -> Option<(K, V)> {
        let first = |owner| self.queues.get(owner)?.keys().next();
        let index = self
            .order
            .iter()
            .position(|owner| first(owner).is_some_and(&is_ready))?;
        let owner = self.order.remove(index)?;
        let queue = self.queues.get_mut(&owner)?;
        let next = queue.pop_first();
        if queue.is_empty() {
            self.queues.remove(&owner);
        } else {
            self.order.push_back(owner);
        }
        next
    }

    /// Whether somebody's first is ready.
    pub(super) fn is_ready(&self, is_ready: impl Fn(&K) -> bool) -> bool {
        let mut firsts = self.queues.values().filter_map(|queue| queue.keys().next());
        firsts.any(is_ready)
    }

    /// What is first of whoever has the next turn.
    pub(super) fn first(&self) -> Option<&V> {
        self.queues.get(self.order.front()?)?.values().next()
    }

    /// The least key of anybody's above this one.
    pub(super) fn above(&self, key: K) -> Option<K> {
        use std::ops::Bound::{Excluded, Unbounded};
        let queues = self.queues.values();
        let nexts = queues.filter_map(|queue| queue.range((Excluded(key), Unbounded)).next());
        nexts.map(|(key, _)| *key).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Owner {
        Owner::Named(name.into())
    }

    #[test]
    fn whoever_has_much_holds_up_nobody_else() {
        let mut turns = Turns::default();
        for number in 0..100 {
            turns.insert(&Owner::Plain, number, "plain");
        }
        turns.insert(&named("a"), 100, "a");
        turns.insert(&named("b"), 101, "b");
        turns.insert(&named("b"), 102, "b");
        let mut all = Vec::new();
        while let Some((number, owner)) = turns.next(|_| true) {
            all.push((number, owner));
        }
        let first = [
            (0, "plain"),
            (100, "a"),
            (101, "b"),
            (1, "plain"),
            (102, "b"),
        ];
        assert_eq!(all[..5], first);
        let rest: Vec<_> = (2..100).map(|number| (number, "plain")).collect();
        assert_eq!(all[5..], rest);
        assert!(turns.queues.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn whose_first_is_not_ready_keeps_its_turn() {
        let mut turns = Turns::default();
        turns.insert(&named("a"), 9, ());
        turns.insert(&named("b"), 1, ());
        turns.insert(&named("b"), 2, ());
        let soon = |key: &i32| *key < 5;
        assert!(turns.is_ready(soon));
        assert_eq!(turns.next(soon), Some((1, ())));
        assert_eq!(turns.above(2), Some(9));
        assert_eq!(turns.next(|_| true), Some((9, ())));
        assert_eq!(turns.next(soon), Some((2, ())));
        assert!(!turns.is_ready(|_| true));
        assert_eq!(turns.next(|_| true), None);
    }

    #[test]
    fn what_is_removed_has_no_turn() {
        let mut turns = Turns::default();
        turns.insert(&named("a"), 1, "x");
        turns.insert(&named("b"), 2, "y");
        assert_eq!(turns.remove(&named("a"), &2), None);
        assert_eq!(turns.remove(&named("a"), &1), Some("x"));
        assert_eq!(turns.remove(&named("a"), &1), None);
        assert_eq!(turns.first(), Some(&"y"));
        assert_eq!(turns.next(|_| true), Some((2, "y")));
        assert!(turns.order.is_empty());
    }
}
