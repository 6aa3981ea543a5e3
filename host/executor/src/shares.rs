//! What is kept in memory on behalf of owners who do not know each other.
//!
//! Entries are bounded in number and in bytes. When there are too many, the owner who holds the most loses
//! the entry that was used longest ago. So an owner who holds no more than an equal part (the bound divided
//! by the number of owners) loses nothing to the others, whatever they do: somebody else then holds more.
//! An owner alone may use all of it. Among owners who hold equally much it is whoever has the entry that was used
//! longest ago, so that what is put in does not go at once because of how its owner is called.

use std::{cmp::Reverse, collections::HashMap, hash::Hash};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries.
    pub entries: usize,
    /// Bytes of all entries together.
    pub bytes: u64,
}

/// A bounded map whose entries have owners.
pub struct Shares<K, V> {
    bounds: Bounds,
    entries: HashMap<K, Entry<V>>,
    clock: u64,
}

struct Entry<V> {
    value: V,
    owner: String,
    bytes: u64,
    used: u64,
}

impl<K: Eq + Hash + Clone, V> Shares<K, V> {
    /// An empty map.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: HashMap::new(),
            clock: 0,
        }
    }

    /// An entry, which counts as used.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(&entry.value)
    }

    /// Keeps an entry, and gives those that had to go for it: the same key's earlier one, and others. What
    /// is larger than everything that is kept goes at once, and so may what makes its owner the one who holds the most:
    /// look for it in what is given back.
    pub fn put(&mut self, key: K, owner: &str, bytes: u64, value: V) -> Vec<V> {
        self.clock += 1;
        let entry = Entry {
            value,
            owner: owner.to_owned(),
            bytes,
            used: self.clock,
        };
        let mut gone: Vec<V> = Vec::new();
        if bytes > self.bounds.bytes {
            gone.push(entry.value);
            return gone;
        }
        gone.extend(self.entries.insert(key, entry).map(|entry| entry.value));
        while let Some(key) = self.superfluous() {
            gone.extend(self.entries.remove(&key).map(|entry| entry.value));
        }
        gone
    }

    /// Removes what a condition holds for.
    pub fn extract(&mut self, mut is_out: impl FnMut(&K, &V) -> bool) -> Vec<V> {
        self.entries
            .extract_if(|key, entry| is_out(key, &entry.value))
            .map(|(_, entry)| entry.value)
            .collect()
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// The entry to give up, when there is more than the bounds allow.
    fn superfluous(&self) -> Option<K> {
        let mut held: HashMap<&str, Held<'_, K>> = HashMap::new();
        for (key, entry) in &self.entries {
            let held = held.entry(&entry.owner).or_insert(Held {
                entries: 0,
                bytes: 0,
                oldest: (entry.used, key),
            });
            held.entries += 1;
            held.bytes += entry.bytes;
            if entry.used < held.oldest.0 {
                held.oldest = (entry.used, key);
            }
        }
        let bytes: u64 = held.values().map(|held| held.bytes).sum();
        // No two entries were used at the same time, so there is one largest owner.
        let held = held.values();
        let largest = if bytes > self.bounds.bytes {
            held.max_by_key(|held| (held.bytes, Reverse(held.oldest.0)))?
        } else if self.entries.len() > self.bounds.entries {
            held.max_by_key(|held| (held.entries, Reverse(held.oldest.0)))?
        } else {
            return None;
        };
        Some(largest.oldest.1.clone())
    }
}

/// What one owner has.
struct Held<'a, K> {
    entries: usize,
    bytes: u64,
    /// The entry that was used longest ago, and when.
    oldest: (u64, &'a K),
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        entries: 8,
        bytes: 800,
    };

    fn shares() -> Shares<String, String> {
        Shares::new(BOUNDS)
    }

    fn put(shares: &mut Shares<String, String>, owner: &str, number: usize, bytes: u64) {
        let key = format!("{owner}{number}");
        shares.put(key.clone(), owner, bytes, key);
    }

    fn held(shares: &Shares<String, String>, owner: &str) -> usize {
        shares
            .iter()
            .filter(|(key, _)| key.starts_with(owner))
            .count()
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut shares = shares();
        for number in 0..8 {
            put(&mut shares, "a", number, 1);
        }
        assert!(shares.get(&"a0".to_owned()).is_some());
        let gone = shares.put("a8".to_owned(), "a", 1, "a8".to_owned());
        assert_eq!(gone, ["a1"]);
        assert_eq!(shares.iter().count(), BOUNDS.entries);
        // The same key again replaces and pushes nobody out.
        let gone = shares.put("a8".to_owned(), "a", 1, "new".to_owned());
        assert_eq!(gone, ["a8"]);
        assert_eq!(shares.get(&"a8".to_owned()).unwrap(), "new");
    }

    #[test]
    fn one_owner_cannot_push_another_out() {
        for bytes in [1, 200, 799, 800] {
            let mut shares = shares();
            for number in 0..4 {
                put(&mut shares, "modest", number, 100);
            }
            for number in 0..1000 {
                put(&mut shares, "greedy", number, bytes);
            }
            assert_eq!(held(&shares, "modest"), 4, "{bytes}");
            let total: usize = shares.iter().count();
            assert!(total <= BOUNDS.entries, "{bytes}");
        }
    }

    #[test]
    fn among_equals_the_newcomer_stays_whatever_its_owner_is_called() {
        for (first, second) in [("a", "b"), ("b", "a")] {
            let mut shares = Shares::new(Bounds {
                entries: 1,
                bytes: 800,
            });
            put(&mut shares, first, 0, 1);
            let gone = shares.put("new".to_owned(), second, 1, "new".to_owned());
            assert_eq!(gone, [format!("{first}0")]);
            let mut shares = self::shares();
            put(&mut shares, first, 0, 500);
            let gone = shares.put("new".to_owned(), second, 500, "new".to_owned());
            assert_eq!(gone, [format!("{first}0")]);
        }
    }

    #[test]
    fn who_would_hold_the_most_is_told_what_does_not_fit() {
        let mut shares = Shares::new(Bounds {
            entries: 8,
            bytes: 512,
        });
        put(&mut shares, "modest", 0, 100);
        put(&mut shares, "modest", 1, 100);
        let gone = shares.put("large".to_owned(), "other", 400, "large".to_owned());
        assert_eq!(gone, ["large"]);
        assert_eq!(held(&shares, "modest"), 2);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut shares = shares();
        put(&mut shares, "a", 0, 700);
        put(&mut shares, "a", 1, 101);
        assert_eq!(held(&shares, "a"), 1);
        assert!(shares.get(&"a1".to_owned()).is_some());
        let gone = shares.put("huge".to_owned(), "a", 801, "huge".to_owned());
        assert_eq!(gone, ["huge"]);
        assert_eq!(held(&shares, "a"), 1);
        let out = shares.extract(|_, value| value == "a1");
        assert_eq!((out.len(), shares.iter().count()), (1, 0));
    }
}
