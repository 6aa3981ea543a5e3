//! The body of an answer, with what it keeps alive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::error::OutgoingError;
use crate::bounded::{BodyTrouble, Bounded};

/// A connection, which ends with this.
#[derive(Debug)]
pub(super) struct Connection(pub(super) JoinHandle<hyper::Result<()>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of an answer. The connection and the place among the task's requests go with it, at its end or when
/// it is dropped.
#[derive(Debug)]
pub struct ResponseBody {
    body: Bounded,
    held: Option<(Connection, OwnedSemaphorePermit)>,
}

impl ResponseBody {
    pub(super) fn new(body: Bounded, connection: Connection, place: OwnedSemaphorePermit) -> Self {
        Self {
            body,
            held: Some((connection, place)),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = OutgoingError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutgoingError>>> {
        if self.held.is_none() {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.held = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(OutgoingError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl From<BodyTrouble> for OutgoingError {
    fn from(trouble: BodyTrouble) -> Self {
        match trouble {
            BodyTrouble::Silent => Self::Silent,
            BodyTrouble::TooLarge(limit) => Self::AnswerBody(limit),
            BodyTrouble::Broken(error) if error.is_parse() => Self::Protocol,
            BodyTrouble::Broken(_) => Self::Incomplete,
        }
    }
}
