//! How long to wait before the next connection attempt.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);
/// A connection that lasted this long counts as good: the next wait starts from the first step again.
/// A broker that accepts and drops at once must not be asked once a second forever.
pub(super) const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Waits of 1, 2, 4 … 60 seconds, each shortened by up to half at random, so that the proplets of a
/// fleet do not all come back in the same second after a broker restart.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    random: SystemRandom,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST,
            random: SystemRandom::new(),
        }
    }

    /// The wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LAST);
        let mut byte = [0_u8];
        // Without randomness the wait is merely not shortened.
        let _ = self.random.fill(&mut byte);
        let [byte] = byte;
        full - full.mul_f64(f64::from(byte) / 512.0)
    }

    /// Starts again from the first step.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_start_again() {
        let mut backoff = Backoff::new();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let full = Duration::from_secs(seconds);
            let wait = backoff.wait();
            assert!(wait <= full && wait * 2 >= full, "{wait:?} for {full:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
