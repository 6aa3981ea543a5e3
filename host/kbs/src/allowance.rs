//! How many handshakes components cost that nothing was released to.
//!
//! Where the KBS is told which component asks, each component has a session of its own, which takes a quote and a
//! verification, and whoever starts tasks chooses the images. So their number in time is bounded, by owner: an owner
//! is a repository that something was released from, and those who ask for anything else share one part. Renewals of
//! sessions in which something was released are free: the pool bounds them.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// So many handshakes at once.
const BURST: u32 = 64;
/// And one more in this time.
const EVERY: Duration = Duration::from_secs(1);
/// Owners that have a part of their own.
const MAX_OWNERS: usize = 256;

#[derive(Default)]
pub(crate) struct Allowance {
    owners: HashMap<String, Spent>,
    others: Spent,
}

/// When everything that was spent is earned again; none before anything was.
#[derive(Default, Clone, Copy)]
struct Spent(Option<Instant>);

impl Spent {
    /// Spends one handshake, or says how long that would have to wait.
    fn spend(&mut self, now: Instant) -> Result<(), Duration> {
        let earned = self.0.map_or(now, |earned| earned.max(now)) + EVERY;
        let wait = earned
            .saturating_duration_since(now)
            .saturating_sub(EVERY * BURST);
        if wait.is_zero() {
            self.0 = Some(earned);
            Ok(())
        } else {
            Err(wait)
        }
    }
}

impl Allowance {
    /// Something was released from this repository: it has a part of its own from now on.
    pub(crate) fn know(&mut self, repository: &str) {
        if self.owners.contains_key(repository) {
            return;
        }
        if self.owners.len() >= MAX_OWNERS {
            let least = self.owners.iter().min_by_key(|(_, spent)| spent.0);
            if let Some(least) = least.map(|(owner, _)| owner.clone()) {
                self.owners.remove(&least);
            }
        }
        self.owners.insert(repository.to_owned(), Spent::default());
    }

    /// Spends a handshake of whoever asks for something of this repository, or says how long that has to wait.
    pub(crate) fn spend(&mut self, repository: &str, now: Instant) -> Result<(), Duration> {
        let spent = self.owners.get_mut(repository);
        spent.unwrap_or(&mut self.others).spend(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(allowance: &mut Allowance, repository: &str, now: Instant) -> usize {
        (0..10 * BURST)
            .take_while(|_| allowance.spend(repository, now).is_ok())
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_at_a_time() {
        let mut allowance = Allowance::default();
        let now = Instant::now();
        assert_eq!(spent(&mut allowance, "a", now), BURST as usize);
        // Names that nothing was released from have nothing of their own.
        assert_eq!(allowance.spend("b", now), Err(EVERY));
        assert_eq!(spent(&mut allowance, "b", now + EVERY), 1);
        let later = now + EVERY * (BURST + 1) * 2;
        assert_eq!(spent(&mut allowance, "c", later), BURST as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_has_a_part_of_its_own() {
        let mut allowance = Allowance::default();
        let now = Instant::now();
        allowance.know("owner");
        assert_eq!(spent(&mut allowance, "anything", now), BURST as usize);
        assert_eq!(spent(&mut allowance, "owner", now), BURST as usize);
        // Being known again earns nothing.
        allowance.know("owner");
        assert!(allowance.spend("owner", now).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn owners_are_bounded_and_those_who_spend_are_remembered() {
        let mut allowance = Allowance::default();
        let now = Instant::now();
        allowance.know("spends");
        spent(&mut allowance, "spends", now);
        for number in 0..2 * MAX_OWNERS {
            allowance.know(&number.to_string());
        }
        assert_eq!(allowance.owners.len(), MAX_OWNERS);
        assert!(allowance.spend("spends", now).is_err());
    }
}
