//! What a log itself says was never written, and how much of that something missing has used up.
//!
//! A host that loses lines says so in the line `file` that it writes next, before any other. So lines that are lost stood
//! between that line and what was read of their chain before: nothing that is missing elsewhere is excused by it, and in
//! each chain it stands in one gap only. Of several such lines the earliest is used up first, for what is read later may
//! lie behind it.

use std::collections::BTreeMap;

/// The lost lines of one boot: how many are left, by the place of the line that says so.
#[derive(Debug, Default)]
pub(super) struct Losses(BTreeMap<u64, u64>);

impl Losses {
    /// Takes note of a line that says how many were lost before it.
    pub(super) fn say(&mut self, place: u64, lines: u64) {
        if lines > 0 {
            self.0.insert(place, lines);
        }
    }

    /// Whether so many lines are among those that were said to be lost at this place or behind it. Those are used up:
    /// nobody else can say the same of them.
    pub(super) fn take(&mut self, since: u64, mut lines: u64) -> bool {
        while lines > 0 {
            let Some((place, left)) = self.0.range_mut(since..).next() else {
                return false;
            };
            let (place, taken) = (*place, lines.min(*left));
            lines = lines.saturating_sub(taken);
            *left = left.saturating_sub(taken);
            if *left == 0 {
                self.0.remove(&place);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_used_up_once_and_only_from_its_place_on() {
        let mut losses = Losses::default();
        losses.say(5, 0);
        assert!(!losses.take(0, 1));
        losses.say(10, 2);
        losses.say(20, 3);
        assert!(losses.take(30, 0));
        assert!(!losses.take(21, 1));
        // The earliest first, so that what began later finds its own.
        assert!(losses.take(0, 3));
        assert!(losses.take(11, 2));
        assert!(!losses.take(0, 1));
    }
}
