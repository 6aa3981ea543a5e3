//! The time, behind a trait, so that tests choose it.
//!
//! Inside a confidential VM the hypervisor influences the clock. Nothing here makes it trustworthy:
//! use it for expiry and for times that are labelled `untrusted`, and take freshness from nonces.

use std::time::SystemTime;

/// A source of wall-clock time.
pub trait Clock: Send + Sync {
    /// The current time as this clock sees it. It may jump in either direction.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
