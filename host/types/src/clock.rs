//! The time, behind a trait, so that tests choose it.
//!
//! Inside a confidential VM the hypervisor influences the clock. Nothing here makes it trustworthy:
//! use it for expiry and for times that are labelled `untrusted`, and take freshness from nonces.

use std::time::SystemTime;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

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

/// A time in UTC as RFC 3339 has it, in whole milliseconds: for whoever reads an untrusted time, such as the Manager or an
/// auditor. A time that it cannot write, before 1970 or after 9999, becomes the start of 1970: it is no more wrong.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = i128::try_from(since.as_millis())
        .unwrap_or_default()
        .saturating_mul(1_000_000);
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_milliseconds_where_there_are_any() {
        let at = |seconds, nanoseconds| {
            rfc3339(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
        };
        assert_eq!(at(1_790_000_000, 0), "2026-09-21T14:13:20Z");
        assert_eq!(at(1_790_000_000, 5_000_000), "2026-09-21T14:13:20.005Z");
        assert_eq!(at(1_790_000_000, 123_999_999), "2026-09-21T14:13:20.123Z");
        assert_eq!(at(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(at(253_402_300_799, 0), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_clock_that_is_far_off_still_gives_a_time() {
        for wrong in [
            SystemTime::UNIX_EPOCH - Duration::from_secs(1),
            SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800),
            SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
        ] {
            assert_eq!(rfc3339(wrong), "1970-01-01T00:00:00Z");
        }
    }
}
