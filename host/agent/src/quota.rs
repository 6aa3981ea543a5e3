//! How often something is done for others.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What the number is over.
const WINDOW: Duration = Duration::from_secs(60);

/// So many pieces in any minute.
pub(crate) struct Quota {
    most: usize,
    /// When the last ones were given out, the oldest first; at most `most`.
    given: Mutex<VecDeque<Instant>>,
}

impl Quota {
    pub(crate) fn per_minute(most: u32) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            given: Mutex::default(),
        }
    }

    /// Takes one, or says how long it is until there is one.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        while given.front().is_some_and(|first| now - *first >= WINDOW) {
            given.pop_front();
        }
        if given.len() < self.most {
            given.push_back(now);
            return Ok(());
        }
        let oldest = given.front().copied().unwrap_or(now);
        Err(WINDOW.saturating_sub(now - oldest))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_minute_has_so_many() {
        let quota = Quota::per_minute(2);
        quota.take().unwrap();
        advance(Duration::from_secs(30)).await;
        quota.take().unwrap();
        assert_eq!(quota.take(), Err(Duration::from_secs(30)));
        advance(Duration::from_secs(29)).await;
        assert_eq!(quota.take(), Err(Duration::from_secs(1)));
        advance(Duration::from_secs(1)).await;
        quota.take().unwrap();
        assert_eq!(quota.take(), Err(Duration::from_secs(30)));
        advance(Duration::from_secs(3600)).await;
        quota.take().unwrap();
        quota.take().unwrap();
        quota.take().unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn none_is_none() {
        assert_eq!(Quota::per_minute(0).take(), Err(WINDOW));
    }
}
