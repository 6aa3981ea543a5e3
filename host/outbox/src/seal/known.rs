//! Which state of which store a process takes for the one that it left.
//!
//! A disk that fails and comes back may come back as another one: as it was earlier, as somebody else went on with it
//! under the same root, or empty. A count of commits tells none of these from the right one for sure, because as many
//! can be made elsewhere. So a process remembers the store's id and its head, whose sum only the same records have.
//!
//! There are two at most. A commit that failed may be on the disk all the same, and whether it is shows when the store
//! is opened next: from then on what was found is the only one. A store that was set aside is none any more, whatever
//! is put in its place; what comes next has to be begun here.

use super::{breach::Breach, head::Head, keys::StoreId};

/// One state of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(super) store: StoreId,
    pub(super) head: Head,
}

/// What a process knows of the sealed store that it writes.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// It had one. Until then any that is sealed as it should be is the one that an earlier process left.
    is_ours: bool,
    /// After the last commit that ended well. None of a store that is still to be begun.
    last: Option<Moment>,
    /// After one that failed, and may be there.
    maybe: Option<Moment>,
}

impl Known {
    /// Passes when a new store may be begun.
    pub(crate) fn takes_new(&self) -> Result<(), Breach> {
        match self.last {
            None => Ok(()),
            Some(_) => Err(Breach::RolledBack),
        }
    }

    /// Passes when a store that was read whole is the one, which it is from now on, as it was found.
    pub(crate) fn take(&mut self, found: Moment) -> Result<(), Breach> {
        if self.is_ours && self.last != Some(found) && self.maybe != Some(found) {
            return Err(Breach::RolledBack);
        }
        *self = Self {
            is_ours: true,
            last: Some(found),
            maybe: None,
        };
        Ok(())
    }

    /// A commit begins that leads to this.
    pub(crate) fn attempt(&mut self, next: Moment) {
        self.maybe = Some(next);
    }

    /// It ended well.
    pub(crate) fn landed(&mut self) {
        if self.is_ours && self.maybe.is_some() {
            self.last = self.maybe.take();
        }
    }

    /// The store was set aside.
    pub(crate) fn set_aside(&mut self) {
        *self = Self {
            is_ours: true,
            last: None,
            maybe: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(store: u8, generation: u64) -> Moment {
        Moment {
            store: [store; 16],
            head: Head {
                generation,
                ..Head::default()
            },
        }
    }

    fn written() -> Known {
        let mut known = Known::default();
        known.take(moment(1, 5)).unwrap();
        known
    }

    #[test]
    fn who_had_no_store_takes_any() {
        let mut known = Known::default();
        known.takes_new().unwrap();
        // A store that could not be begun may be another one next time.
        known.attempt(moment(1, 1));
        known.landed();
        known.take(moment(2, 7)).unwrap();
        assert_eq!(known.take(moment(1, 1)), Err(Breach::RolledBack));
    }

    #[test]
    fn the_last_state_is_taken_and_no_other() {
        let mut other_sum = moment(1, 5);
        other_sum.head.done.add(1);
        for other in [
            moment(1, 4),
            moment(1, 6),
            moment(2, 5),
            moment(2, 9),
            other_sum,
        ] {
            assert_eq!(written().take(other), Err(Breach::RolledBack), "{other:?}");
        }
        assert_eq!(written().takes_new(), Err(Breach::RolledBack));
        let mut known = written();
        known.take(moment(1, 5)).unwrap();
        known.attempt(moment(1, 6));
        known.landed();
        assert_eq!(known.take(moment(1, 5)), Err(Breach::RolledBack));
        known.take(moment(1, 6)).unwrap();
    }

    #[test]
    fn a_commit_that_failed_is_there_or_not_and_then_for_good() {
        let (last, maybe) = (moment(1, 5), moment(1, 6));
        for (found, other) in [(last, maybe), (maybe, last)] {
            let mut known = written();
            known.attempt(maybe);
            assert_eq!(known.take(moment(1, 7)), Err(Breach::RolledBack));
            assert_eq!(known.takes_new(), Err(Breach::RolledBack));
            known.take(found).unwrap();
            assert_eq!(known.take(other), Err(Breach::RolledBack));
            known.take(found).unwrap();
        }
    }

    #[test]
    fn what_was_set_aside_is_replaced_by_what_is_begun_here() {
        let mut known = written();
        known.set_aside();
        known.takes_new().unwrap();
        assert_eq!(known.take(moment(1, 5)), Err(Breach::RolledBack));
        known.attempt(moment(2, 1));
        // Whether it is there shows when it is looked for.
        known.takes_new().unwrap();
        assert_eq!(known.take(moment(1, 5)), Err(Breach::RolledBack));
        known.take(moment(2, 1)).unwrap();
        assert_eq!(known.takes_new(), Err(Breach::RolledBack));
    }
}
