//! What requests of components may take.

use std::time::Duration;

/// What requests of components may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests of one component that are under way at once, until their answers are read.
    pub requests: usize,
    /// How long it may take to find the host, connect and agree on TLS.
    pub connect: Duration,
    /// How long the head of the answer, or the next piece of its body, may be waited for.
    pub silence: Duration,
    /// Bytes of the body of one request or answer.
    pub body_bytes: u64,
    /// Bytes of the head of an answer.
    pub head_bytes: usize,
}

impl Default for Bounds {
    /// 8 requests at once, 10 s to connect, 60 s of silence, 64 MiB of body, 32 KiB of head.
    fn default() -> Self {
        Self {
            requests: 8,
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            body_bytes: 64 << 20,
            head_bytes: 32 << 10,
        }
    }
}
