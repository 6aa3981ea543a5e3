//! Answers that were had before, for those who would have to wait among strangers ([`Names`](super::Names) says when).
//!
//! - **Few**: [`KEPT`] names, which is more than a fleet has registries and hosts, and [`ADDRESSES`] of each. That is less
//!   than half a MiB, however long names and answers are.
//! - **Nobody pushes out another's**: anybody can make up names that are found. So a name counts as that of the asker it was
//!   looked up for, and where there are too many, the one that goes is of the asker who has the most; of those, the one
//!   that was not asked for for longest. A name that a key's owner needed stays that owner's, whoever asks for it later;
//!   what only strangers needed so far, strangers can push out.
//! - **Recent**: a day, the least that RFC 8767 (section 5) has for answers that are served beyond their time. A server
//!   that has moved meanwhile is not at the old address, and the task fails as it would have for want of a place. Who is
//!   at an address is for TLS to say and whether it may be reached for whoever connects, here as after any lookup.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Asker;

/// Names whose answers are kept.
pub(super) const KEPT: usize = 256;
/// Addresses that are kept of a name.
const ADDRESSES: usize = 64;
/// An answer that is older is none.
pub(super) const OUTDATED: Duration = Duration::from_hours(24);

/// The answers, the one that was not asked for for longest first.
#[derive(Default)]
pub(super) struct Answers(VecDeque<Answer>);

struct Answer {
    name: String,
    /// Whose it counts as.
    of: Asker,
    began: Instant,
    addresses: Arc<[IpAddr]>,
}

impl Answers {
    /// The addresses that a name had, if that is not too long ago.
    pub(super) fn find(&mut self, name: &str) -> Option<Arc<[IpAddr]>> {
        let answer = self.remove(name)?;
        if answer.began.elapsed() >= OUTDATED {
            return None;
        }
        let addresses = Arc::clone(&answer.addresses);
        self.0.push_back(answer);
        Some(addresses)
    }

    /// The same for this asker. A plain guest is not told of what was found for a key owner's: it would learn whom that
    /// one's guests talk to.
    pub(super) fn find_for(&mut self, name: &str, asker: &Asker) -> Option<Arc<[IpAddr]>> {
        let of = self.0.iter().find(|answer| answer.name == name)?.of.clone();
        let is_told = *asker != Asker::Anybody || of.is_shared();
        is_told.then(|| self.find(name)).flatten()
    }

    /// Forgets a name, and says whose it was.
    pub(super) fn forget(&mut self, name: &str) -> Option<Asker> {
        self.remove(name).map(|answer| answer.of)
    }

    /// Keeps the answer of a lookup that began then, for this asker. `was_of` is what [`forget`](Self::forget) said.
    pub(super) fn keep(
        &mut self,
        name: &str,
        (asker, was_of): (&Asker, Option<&Asker>),
        began: Instant,
        addresses: &[IpAddr],
    ) {
        if addresses.is_empty() {
            return;
        }
        let meanwhile = self.forget(name);
        let mut before = meanwhile.iter().chain(was_of);
        let of = before.find(|of| !of.is_shared()).unwrap_or(asker).clone();
        self.0.push_back(Answer {
            name: name.to_owned(),
            of,
            began,
            addresses: addresses.iter().take(ADDRESSES).copied().collect(),
        });
        if self.0.len() > KEPT {
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        let mut counts: HashMap<&Asker, usize> = HashMap::new();
        for answer in &self.0 {
            let count = counts.entry(&answer.of).or_default();
            *count = count.saturating_add(1);
        }
        let most = counts.values().max();
        let has_most = |answer: &Answer| counts.get(&answer.of) == most;
        let place = self.0.iter().position(has_most);
        if let Some(place) = place {
            self.0.remove(place);
        }
    }

    fn remove(&mut self, name: &str) -> Option<Answer> {
        let place = self.0.iter().position(|answer| answer.name == name)?;
        self.0.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOME: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

    fn named(name: &str) -> Asker {
        Asker::Named(name.into())
    }

    /// As a lookup does: out when it begins, back in when it is answered.
    fn look_up(answers: &mut Answers, name: &str, asker: &Asker) {
        let was_of = answers.forget(name);
        answers.keep(name, (asker, was_of.as_ref()), Instant::now(), &HOME);
    }

    fn flood(answers: &mut Answers, asker: &Asker) {
        for number in 0..2 * KEPT {
            look_up(answers, &format!("{number}.mallory.example"), asker);
        }
    }

    #[test]
    fn an_owners_names_are_pushed_out_by_nobody_elses() {
        let mut answers = Answers::default();
        look_up(&mut answers, "registry.example", &named("alice"));
        look_up(&mut answers, "strangers.example", &Asker::Unknown);
        // Who asks for it later does not make it his.
        for asker in [Asker::Unknown, named("mallory"), Asker::Anybody] {
            look_up(&mut answers, "registry.example", &asker);
        }
        for asker in [Asker::Unknown, named("mallory"), Asker::Anybody] {
            flood(&mut answers, &asker);
            assert_eq!(answers.0.len(), KEPT);
            assert!(answers.find("registry.example").is_some(), "{asker:?}");
        }
        assert!(answers.find("strangers.example").is_none());
    }

    #[test]
    fn a_strangers_name_becomes_the_owners_who_needs_it() {
        let mut answers = Answers::default();
        look_up(&mut answers, "registry.example", &Asker::Unknown);
        look_up(&mut answers, "registry.example", &named("alice"));
        flood(&mut answers, &Asker::Unknown);
        assert!(answers.find("registry.example").is_some());
        // Also where two lookups of it go on at once, of which a stranger's ends last.
        let was_of = answers.forget("registry.example");
        assert_eq!(was_of, Some(named("alice")));
        let now = Instant::now();
        let alice = named("alice");
        answers.keep("registry.example", (&alice, None), now, &HOME);
        answers.keep("registry.example", (&Asker::Unknown, None), now, &HOME);
        assert_eq!(answers.forget("registry.example"), Some(alice));
    }

    #[test]
    fn of_one_asker_the_name_goes_that_was_not_asked_for_for_longest() {
        let mut answers = Answers::default();
        for number in 0..KEPT {
            look_up(&mut answers, &number.to_string(), &Asker::Unknown);
        }
        assert!(answers.find("0").is_some());
        look_up(&mut answers, "new", &Asker::Unknown);
        assert!(answers.find("0").is_some() && answers.find("new").is_some());
        assert!(answers.find("1").is_none());
    }

    #[test]
    fn a_plain_guest_is_not_told_whom_an_owners_guests_talk_to() {
        let mut answers = Answers::default();
        let owner = Asker::Named("owner".into());
        look_up(&mut answers, "of-an-owner", &owner);
        look_up(&mut answers, "of-anybody", &Asker::Anybody);
        assert!(answers.find_for("of-an-owner", &Asker::Anybody).is_none());
        assert!(answers.find_for("of-anybody", &Asker::Anybody).is_some());
        // A registry that an owner's images come from is known to whoever names it.
        assert!(answers.find_for("of-an-owner", &Asker::Unknown).is_some());
        assert!(answers.find_for("nobodys", &Asker::Unknown).is_none());
    }

    #[test]
    fn no_more_addresses_are_kept_than_a_client_would_try() {
        let mut answers = Answers::default();
        let many = vec![IpAddr::V4(Ipv4Addr::LOCALHOST); 10_000];
        let now = Instant::now();
        answers.keep("many.example", (&Asker::Unknown, None), now, &many);
        assert_eq!(answers.find("many.example").unwrap().len(), ADDRESSES);
        // A name without an address is not found.
        answers.keep("none.example", (&Asker::Unknown, None), now, &[]);
        assert!(answers.find("none.example").is_none());
    }
}
