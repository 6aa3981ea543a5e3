//! Sessions: what one attestation is worth, and for how long.

use std::fmt;

/// The number of an attested session.
///
/// It changes whenever the host attested anew, so whatever was released under a session (keys, code,
/// instances) is dropped when [`crate::KbsClient::live_session`] no longer gives the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
