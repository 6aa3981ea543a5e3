//! How many handshakes components cost that nothing was released to.
//!
//! Where the KBS is told which component asks, each component has a session of its own, which takes a quote and a
//! verification, and whoever starts tasks chooses the images. So their number in time is bounded, by owner: whose a
//! component is says the caller, who knows it of images that were opened before. What an image says of itself, which
//! key it asks for, makes nobody an owner, nor that the KBS releases that key: it would to any image that names it. All
//! others share one part. Renewals of sessions in which something was released are free: the pool bounds them.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// So many handshakes at once.
const BURST: u32 = 64;
/// And one more in this time.
const EVERY: Duration = Duration::from_secs(1);
/// Owners that have a part of their own at the same time.
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
    /// Spends a handshake of this owner, or of all those that nobody knows, or says how long that has to wait.
    pub(crate) fn spend(&mut self, owner: Option<&str>, now: Instant) -> Result<(), Duration> {
        match owner {
            Some(owner) => self.part(owner).spend(now),
            None => self.others.spend(now),
        }
    }

    /// An owner's own part. A new one takes the place of the one that has spent least.
    fn part(&mut self, owner: &str) -> &mut Spent {
        if self.owners.len() >= MAX_OWNERS && !self.owners.contains_key(owner) {
            let least = self.owners.iter().min_by_key(|(_, spent)| spent.0);
            if let Some(least) = least.map(|(owner, _)| owner.clone()) {
                self.owners.remove(&least);
            }
        }
        self.owners.entry(owner.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(allowance: &mut Allowance, owner: Option<&str>, now: Instant) -> usize {
        (0..10 * BURST)
            .take_while(|_| allowance.spend(owner, now).is_ok())
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_at_a_time() {
        for owner in [None, Some("owner")] {
            let mut allowance = Allowance::default();
            let now = Instant::now();
            assert_eq!(spent(&mut allowance, owner, now), BURST as usize);
            assert_eq!(allowance.spend(owner, now), Err(EVERY));
            assert_eq!(spent(&mut allowance, owner, now + EVERY), 1);
            let later = now + EVERY * (BURST + 1) * 2;
            assert_eq!(spent(&mut allowance, owner, later), BURST as usize);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_has_a_part_of_its_own() {
        let mut allowance = Allowance::default();
        let now = Instant::now();
        for owner in [None, Some("mallory"), Some("owner")] {
            assert_eq!(spent(&mut allowance, owner, now), BURST as usize);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn owners_are_bounded_and_those_who_spend_are_remembered() {
        let mut allowance = Allowance::default();
        let now = Instant::now();
        spent(&mut allowance, Some("spends"), now);
        for number in 0..2 * MAX_OWNERS {
            allowance.spend(Some(&number.to_string()), now).unwrap();
        }
        assert_eq!(allowance.owners.len(), MAX_OWNERS);
        assert!(allowance.spend(Some("spends"), now).is_err());
    }
}
