//! Which sizes of messages a broker may drop the connection for.

/// Messages up to this size are never the reason: every broker takes them.
pub(in crate::mqtt) const SMALL_BYTES: usize = 16 * 1024;

/// What is known of a broker's limit, in bytes of messages. It says it nowhere (MQTT 3.1.1), so it is learned from what was
/// in flight when it dropped the connection, and from what went through alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    /// The least that was there when the connection broke, and did not go through alone since.
    suspect: Option<usize>,
    /// The least that was given up, and did not go through since.
    given_up: Option<usize>,
}

impl Sizes {
    /// The connection broke with a large message of this size in flight.
    pub(super) fn dropped(&mut self, size: usize) {
        if size <= SMALL_BYTES {
            return;
        }
        self.suspect = Some(self.suspect.map_or(size, |least| least.min(size)));
    }

    /// One of this size was given up.
    pub(super) fn given_up(&mut self, size: usize) {
        if size <= SMALL_BYTES {
            return;
        }
        self.given_up = Some(self.given_up.map_or(size, |least| least.min(size)));
        self.dropped(size);
    }

    /// One of this size went through alone: so does what is not larger. What is said of larger ones stays.
    pub(super) fn passed(&mut self, size: usize) {
        let above = size.saturating_add(1);
        self.given_up = self.given_up.filter(|least| *least > size);
        self.suspect = self.suspect.map(|least| least.max(above));
    }

    /// Whether one of this size goes alone.
    pub(super) fn is_suspect(self, size: usize) -> bool {
        self.suspect.is_some_and(|least| size >= least)
    }

    /// Whether one that was not larger was given up.
    pub(super) fn is_given_up(self, size: usize) -> bool {
        self.given_up.is_some_and(|least| size >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_smaller_than_what_broke_the_connection_goes_alone_until_it_passed() {
        let mut sizes = Sizes::default();
        sizes.dropped(SMALL_BYTES);
        sizes.given_up(SMALL_BYTES);
        assert!(!sizes.is_suspect(usize::MAX) && !sizes.is_given_up(usize::MAX));
        sizes.dropped(50_000);
        sizes.dropped(20_000);
        sizes.dropped(30_000);
        assert!(!sizes.is_suspect(19_999) && sizes.is_suspect(20_000));
        sizes.passed(30_000);
        assert!(!sizes.is_suspect(30_000) && sizes.is_suspect(30_001));
        sizes.given_up(40_000);
        assert!(sizes.is_given_up(40_000) && !sizes.is_given_up(39_999));
        // What passes alone says nothing of larger ones.
        sizes.passed(35_000);
        assert!(sizes.is_suspect(40_000) && sizes.is_given_up(40_000));
        // Whoever runs the broker raised its limit.
        sizes.passed(100_000);
        assert!(!sizes.is_suspect(100_000) && !sizes.is_given_up(100_000));
    }
}
