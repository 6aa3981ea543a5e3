//! The name that somebody meant.

/// The known name that is closest to `name`, unless none is close: at most a third of its letters differ.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    // Nobody's misspelling is three times as long as any name here.
    if name.len() > 64 {
        return None;
    }
    let closest = known.iter().min_by_key(|known| distance(name, known))?;
    (distance(name, closest) * 3 <= closest.len().max(3)).then_some(*closest)
}

/// How many letters have to be changed, added or taken away to make one of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut before = at;
        let mut left = at + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(to.chars()) {
            let changed = before + usize::from(letter != other);
            before = *cell;
            left = changed.min(before + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn what_is_far_from_everything_is_nothing() {
        let known = ["measurements", "chip_ids"];
        assert_eq!(nearest("measurement", &known), Some("measurements"));
        assert_eq!(nearest("chip-ids", &known), Some("chip_ids"));
        assert_eq!(nearest("roots", &known), None);
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
