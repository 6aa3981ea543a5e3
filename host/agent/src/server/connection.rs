//! One connection: it has a place among a bounded number, and an end when its peer says nothing any more, or does
//! not read what it asked for.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, Sleep, sleep},
};
use tonic::transport::server::Connected;

use super::answer::Cut;

/// A stream that gives up a peer from which nothing came for a while. Peers that live answer pings.
pub(super) struct Connection<S> {
    stream: S,
    silence: Duration,
    given_up: Pin<Box<Sleep>>,
    cut: Cut,
    is_cut: mpsc::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: S, silence: Duration, place: OwnedSemaphorePermit) -> Self {
        let (cut, is_cut) = Cut::new();
        Self {
            stream,
            silence,
            given_up: Box::pin(sleep(silence)),
            cut,
            is_cut,
            _place: place,
        }
    }

    /// Ready when the peer is given up. A connection that waits for its peer to take something does not read, so this
    /// is looked at wherever it waits.
    fn poll_given_up(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.is_cut.poll_recv(context).is_pending() {
            ready!(self.given_up.as_mut().poll(context));
        }
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Cut;

    fn connect_info(&self) -> Cut {
        self.cut.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            let end = Instant::now() + self.silence;
            self.given_up.as_mut().reset(end);
            return Poll::Ready(read);
        }
        self.poll_given_up(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.poll_given_up(context).map(Err),
            done => done,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Pending => self.poll_given_up(context).map(Err),
            done => done,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::Semaphore,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (_peer, ours) = tokio::io::duplex(16);
        let mut connection = Connection::new(ours, Duration::from_secs(60), place);
        let error = connection.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up_and_its_place_is_free() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (mut peer, ours) = tokio::io::duplex(16);
        let mut connection = Connection::new(ours, Duration::from_secs(60), place);
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(50)).await;
        peer.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'x');
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), Duration::from_secs(110));
        assert_eq!(places.available_permits(), 0);
        drop(connection);
        assert_eq!(places.available_permits(), 1);
    }
}
