//! What a store as a whole must be.
//!
//! Sealed as it is here, all little endian: commits so far (8 bytes); then of the entries, and after them of the ids
//! that must not run again, how many there are (8 bytes) and the sum of their tickets (16 bytes).

const SUM_BYTES: usize = 8 + 16;

/// What a store as a whole must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// Commits so far.
    pub(super) generation: u64,
    pub(super) entries: Sum,
    pub(super) done: Sum,
}

/// Of a set of texts, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    count: u64,
    tickets: u128,
}

impl Sum {
    pub(super) fn add(&mut self, ticket: u128) {
        self.count = self.count.wrapping_add(1);
        self.tickets = self.tickets.wrapping_add(ticket);
    }

    pub(super) fn remove(&mut self, ticket: u128) {
        self.count = self.count.wrapping_sub(1);
        self.tickets = self.tickets.wrapping_sub(ticket);
    }

    fn encode(self) -> Vec<u8> {
        let count = self.count.to_le_bytes();
        [count.as_slice(), &self.tickets.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, tickets) = bytes.split_at_checked(8)?;
        Some(Self {
            count: u64::from_le_bytes(count.try_into().ok()?),
            tickets: u128::from_le_bytes(tickets.try_into().ok()?),
        })
    }
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let generation = self.generation.to_le_bytes();
        [
            generation.as_slice(),
            &self.entries.encode(),
            &self.done.encode(),
        ]
        .concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, sums) = bytes.split_at_checked(8)?;
        let (entries, done) = sums.split_at_checked(SUM_BYTES)?;
        Some(Self {
            generation: u64::from_le_bytes(generation.try_into().ok()?),
            entries: Sum::decode(entries)?,
            done: Sum::decode(done)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: usize = 8 + 2 * SUM_BYTES;

    proptest! {
        #[test]
        fn a_head_is_read_as_it_is_written(
            generation in any::<u64>(),
            entries in (any::<u64>(), any::<u128>()),
            done in (any::<u64>(), any::<u128>()),
        ) {
            let sum = |(count, tickets)| Sum { count, tickets };
            let head = Head { generation, entries: sum(entries), done: sum(done) };
            let bytes = head.encode();
            prop_assert_eq!(bytes.len(), BYTES);
            prop_assert_eq!(Head::decode(&bytes), Some(head));
            for length in [0, 8, 32, BYTES - 1] {
                prop_assert_eq!(Head::decode(&bytes[..length]), None);
            }
            prop_assert_eq!(Head::decode(&[bytes.as_slice(), &[0]].concat()), None);
        }

        #[test]
        fn a_sum_knows_no_order_and_forgets_what_was_taken_out(
            tickets in proptest::collection::vec(any::<u128>(), 0..20),
            more in any::<u128>(),
        ) {
            let mut forth = Sum::default();
            let mut back = Sum::default();
            forth.add(more);
            tickets.iter().for_each(|ticket| forth.add(*ticket));
            tickets.iter().rev().for_each(|ticket| back.add(*ticket));
            prop_assert_ne!(forth, back);
            forth.remove(more);
            prop_assert_eq!(forth, back);
        }
    }
}
