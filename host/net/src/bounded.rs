//! A body that comes from strangers: neither too long nor too slow.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

/// Why such a body ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyTrouble {
    /// Nothing came for a while.
    #[error("the body did not go on in time")]
    Silent,
    /// It has more bytes than it may.
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
    /// The connection broke off, or what came is no HTTP.
    #[error("the body broke off: {0}")]
    Broken(hyper::Error),
}

/// A body whose bytes and pauses are counted. The clock runs only while somebody waits.
#[derive(Debug)]
pub struct Bounded {
    body: Incoming,
    silence: Duration,
    sleep: Pin<Box<Sleep>>,
    runs: bool,
    limit: u64,
    left: u64,
}

impl Bounded {
    /// With pauses of at most `silence`, and at most `limit` bytes.
    #[must_use]
    pub fn new(body: Incoming, silence: Duration, limit: u64) -> Self {
        Self {
            body,
            silence,
            sleep: Box::pin(sleep(silence)),
            runs: false,
            limit,
            left: limit,
        }
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyTrouble> {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(frame)
            }
            None => Err(BodyTrouble::TooLarge(self.limit)),
        }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BodyTrouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyTrouble>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.runs = false;
            return Poll::Ready(frame.map(|frame| match frame {
                Ok(frame) => self.count(frame),
                Err(error) => Err(BodyTrouble::Broken(error)),
            }));
        }
        if !self.runs {
            self.runs = true;
            let end = Instant::now() + self.silence;
            self.sleep.as_mut().reset(end);
        }
        let silent = self.sleep.as_mut().poll(context);
        silent.map(|()| Some(Err(BodyTrouble::Silent)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
