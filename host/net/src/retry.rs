//! Second tries: when one can help, how often, and after which wait.
//!
//! As the key broker's client does it: the wait doubles with each try and is shortened at random, so
//! that a fleet of hosts does not come back in step. A server that says when to come back
//! (`Retry-After`, RFC 9110 section 10.2.3) is not asked before, and is given up at once when that is
//! after the deadline.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use ring::rand::{SecureRandom, SystemRandom};

/// How often a request is tried in all.
pub const MAX_TRIES: u32 = 6;
/// The longest wait that nobody asked for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The tries of one request.
#[derive(Debug)]
pub struct Tries {
    made: u32,
    delay: Duration,
}

impl Tries {
    /// None made yet. `delay` is the wait after the first one.
    #[must_use]
    pub fn new(delay: Duration) -> Self {
        Self { made: 0, delay }
    }

    /// How many were made.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Counts a try that failed. The wait before the next one, or none when there are no more of them,
    /// or when it would begin after `left`, the time until the deadline. `asked` is what the server
    /// asked for.
    #[must_use]
    pub fn failed(&mut self, asked: Option<Duration>, left: Duration) -> Option<Duration> {
        let doublings = self.made.min(16);
        self.made = self.made.saturating_add(1);
        if self.made >= MAX_TRIES {
            return None;
        }
        let full = self.delay.saturating_mul(1 << doublings).min(MAX_WAIT);
        let wait = shortened(full).max(asked.unwrap_or_default());
        (wait < left).then_some(wait)
    }
}

/// Shortened at random, by up to half.
fn shortened(full: Duration) -> Duration {
    let mut random = [0; 2];
    // Without random bytes there is still a wait, only not a random one.
    let _ = SystemRandom::new().fill(&mut random);
    let share = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
    full.mul_f64(1.0 - share / 2.0)
}

/// Whether a status says that the server is busy or in trouble, rather than what it thinks of the
/// request.
#[must_use]
pub fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// What a server asks for: seconds, or a date.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn waits_double_and_end() {
        let mut tries = Tries::new(SECOND);
        for full in [1, 2, 4, 8, 16] {
            let wait = tries.failed(None, HOUR).unwrap();
            assert!(
                wait <= SECOND * full && wait >= SECOND * full / 2,
                "{wait:?}"
            );
        }
        assert_eq!(tries.failed(None, HOUR), None);
        assert_eq!(tries.made(), MAX_TRIES);
    }

    #[test]
    fn a_server_is_not_asked_before_it_wants_to_be() {
        assert_eq!(
            Tries::new(SECOND).failed(Some(SECOND * 7), HOUR),
            Some(SECOND * 7)
        );
        assert_eq!(Tries::new(SECOND).failed(Some(HOUR), HOUR), None);
        assert_eq!(Tries::new(SECOND).failed(Some(HOUR), SECOND), None);
        let soon = Tries::new(SECOND)
            .failed(Some(Duration::ZERO), HOUR)
            .unwrap();
        assert!(soon >= SECOND / 2);
        assert_eq!(Tries::new(SECOND).failed(None, Duration::ZERO), None);
    }

    #[test]
    fn seconds_and_dates_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(asked("0"), Some(Duration::ZERO));
        assert_eq!(asked(" 120 "), Some(SECOND * 120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:51:37 GMT"), Some(SECOND * 120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(
            asked("18446744073709551615"),
            Some(Duration::from_secs(u64::MAX))
        );
        for text in ["", "soon", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(asked(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn what_a_server_thinks_of_a_request_does_not_pass() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(may_pass(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 410, 416, 501, 505] {
            assert!(!may_pass(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(text in "[ -~]{0,40}", seconds: u64) {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(&text).unwrap());
            let asked = retry_after(&headers, SystemTime::now()).unwrap_or_default();
            let _ = Tries::new(HOUR).failed(Some(asked), HOUR);
            let _ = Tries::new(Duration::from_secs(seconds)).failed(None, HOUR);
        }
    }
}
