//! Lines of the log that anybody can cause, sparingly.
//!
//! Whoever may publish on the channel can have thousands of messages refused in a second. A line for each would fill the
//! disk and take longer than the refusal. So there are a few in a second, and then one that says how many there were.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many lines in a second.
const LINES: usize = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Decides which lines are written.
#[derive(Debug, Default)]
pub(super) struct Sparing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    lines: usize,
    left_out: usize,
}

/// A line may be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// How many were left out since the last period; to be said before the line, unless none was.
    pub left_out: usize,
}

impl Sparing {
    /// Whether one more line may be written now.
    pub(super) fn line(&self, now: Instant) -> Option<Allowed> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = state
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= PERIOD);
        let mut left_out = 0;
        if is_over {
            left_out = std::mem::take(&mut state.left_out);
            state.lines = 0;
            state.began = Some(now);
        }
        if state.lines >= LINES {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.lines = state.lines.saturating_add(1);
        Some(Allowed { left_out })
    }
}

/// Writes a warning, unless there were too many.
macro_rules! warn_sparingly {
    ($sparing:expr, $($line:tt)*) => {
        if let Some(allowed) = $sparing.line(tokio::time::Instant::now()) {
            if allowed.left_out > 0 {
                tracing::warn!("{} lines like these were left out", allowed.left_out);
            }
            tracing::warn!($($line)*);
        }
    };
}
pub(super) use warn_sparingly;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_lines_become_a_few_and_a_number() {
        let sparing = Sparing::default();
        let now = Instant::now();
        let written = (0..7000).filter_map(|_| sparing.line(now)).count();
        assert_eq!(written, LINES);
        assert_eq!(sparing.line(now + PERIOD / 2), None);
        let later = sparing.line(now + PERIOD).unwrap();
        assert_eq!(later.left_out, 7000 - LINES + 1);
        assert_eq!(sparing.line(now + PERIOD), Some(Allowed { left_out: 0 }));
    }
}
