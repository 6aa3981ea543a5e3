//! Looking on while a task runs.
//!
//! Whoever starts a task may want to know what it uses. What it uses depends on what it computes on, so nothing of an
//! encrypted one is shown unless its policy says `metrics = true`, and nobody can tell before that policy is known: a
//! [`Watch`] shows nothing until the run begins, and for a task that may not be watched it never begins.
//!
//! It also shows when a plain task begins to answer HTTP requests. That is known only once its component is compiled, and
//! from then on it waits for clients until it is stopped.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use proplet_runtime::Gauge;
use tokio::{sync::watch, time::Instant};

/// Whoever looks on, and what is seen. Clones show the same task.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    profile: Option<Profile>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    gauge: Gauge,
    began: OnceLock<Instant>,
    answers: watch::Sender<Option<Arc<str>>>,
}

/// What somebody wants to be told of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Time between two messages.
    pub interval: Duration,
    /// Whether processor time is told.
    pub cpu: bool,
    /// Whether memory is told.
    pub memory: bool,
    /// Samples that averages and maxima are made of; 0 for neither.
    pub history: usize,
}

/// What a task has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When its run began.
    pub began: Instant,
    /// Processor time.
    pub cpu: Duration,
    /// Memory in use, in bytes: what the memory limit counts.
    pub memory_bytes: u64,
}

impl Watch {
    /// Of somebody who wants to be told so much. `None` wants nothing.
    #[must_use]
    pub fn of(profile: Option<Profile>) -> Self {
        Self {
            profile,
            seen: Arc::default(),
        }
    }

    /// What is wanted.
    #[must_use]
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// What the task has used until now. None before its run begins, and for a task that may not be watched.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        let began = *self.seen.began.get()?;
        Some(Reading {
            began,
            cpu: self.seen.gauge.cpu(),
            memory_bytes: self.seen.gauge.memory_bytes(),
        })
    }

    /// Ends when the task begins to answer HTTP requests, with the result that it will have once it is stopped. For any
    /// other it does not end.
    pub async fn answers_http(&self) -> Arc<str> {
        let mut answers = self.seen.answers.subscribe();
        loop {
            if let Some(result) = answers.borrow_and_update().clone() {
                return result;
            }
            // The sender lives for as long as this.
            if answers.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The task answers HTTP requests from now on, and will have this result.
    pub(crate) fn begin_to_answer(&self, result: &str) {
        self.seen.answers.send_replace(Some(result.into()));
    }

    /// The run begins, of a task that may be watched. What has several runs began with the first.
    pub(crate) fn begin(&self) -> Gauge {
        self.seen.began.get_or_init(Instant::now);
        self.seen.gauge.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_seen_before_the_run_begins() {
        let watch = Watch::default();
        assert_eq!(watch.reading(), None);
        let clone = watch.clone();
        let _gauge = watch.begin();
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let _second_run = watch.begin();
        let reading = Reading {
            began,
            cpu: Duration::ZERO,
            memory_bytes: 0,
        };
        assert_eq!(clone.reading(), Some(reading));
        assert_eq!(watch.profile(), None);
    }

    #[tokio::test]
    async fn that_it_answers_is_seen_by_all_who_look_on() {
        let watch = Watch::default();
        let clone = watch.clone();
        let is_seen_early = tokio::select! {
            biased;
            _ = clone.answers_http() => true,
            () = std::future::ready(()) => false,
        };
        assert!(!is_seen_early);
        watch.begin_to_answer("started");
        assert_eq!(&*clone.answers_http().await, "started");
    }
}
