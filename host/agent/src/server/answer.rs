//! An answer on its way: it has a place until it is written, and not for ever.
//!
//! A peer that asks and does not read has answers wait in memory. HTTP/2 asks a body for more only when the peer
//! takes more, so a body that waits notices no time limit; the connection does, and it ends with all that wait. And
//! HTTP/2 may keep what it has not written after it is done with the body, so the place belongs to the bytes too.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
    time::sleep,
};
use tonic::{Status, body::Body};

/// The place of a request among those that are answered, from when its message is there.
pub(super) type Place = Arc<OnceLock<OwnedSemaphorePermit>>;

/// Ends a connection.
#[derive(Clone)]
pub(super) struct Cut(mpsc::Sender<()>);

impl Cut {
    /// What ends a connection, and what the connection hears it by.
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (cut, is_cut) = mpsc::channel(1);
        (Self(cut), is_cut)
    }

    /// Ends the connection.
    fn cut(&self) {
        // When it is full, that was asked for already.
        let _ = self.0.try_send(());
    }
}

/// What an answer holds until its last byte is written.
struct Held {
    _place: Place,
    limit: Option<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(limit) = &self.limit {
            limit.abort();
        }
    }
}

/// The body of an answer, with its place and its time limit.
pub(super) struct Answer {
    body: Body,
    held: Arc<Held>,
}

impl Answer {
    /// A body that ends its connection unless it is written in time.
    pub(super) fn new(body: Body, place: Place, cut: Option<Cut>, time: Duration) -> Self {
        let limit = cut.map(|cut| {
            tokio::spawn(async move {
                sleep(time).await;
                cut.cut();
            })
        });
        let held = Arc::new(Held {
            _place: place,
            limit,
        });
        Self { body, held }
    }
}

/// Bytes of an answer, on their way.
struct Part {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let part = |bytes| {
            Bytes::from_owner(Part {
                bytes,
                _held: Arc::clone(&self.held),
            })
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
