//! A small HTTP/1.1 server for strangers: every connection has a place, every wait an end.
//!
//! Whoever connects and says nothing, sends a head byte by byte, a body drop by drop, or reads no answer, holds
//! a place for a while and then loses it; there are only so many places ([`Bounds`]), and who finds none is
//! closed at once. What a request does is a [`Handler`]'s.

mod io;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::io::Patient;
use crate::bounded::Bounded;

/// What strangers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// How long the head of a request may take, from the connection or from the answer before.
    pub head: Duration,
    /// How long a connection may stand still in the body of a request, or of an answer.
    pub silence: Duration,
    /// How long a connection may live, whatever it does.
    pub life: Duration,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
    /// Bytes of the body of a request.
    pub body_bytes: u64,
    /// How long requests that are under way may go on after the end was called for.
    pub grace: Duration,
}

impl Default for Bounds {
    /// 256 connections, 10 s for a head, 30 s of silence, an hour of life, 32 KiB of head, 16 MiB of body, 10 s
    /// of grace.
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            life: Duration::from_secs(3600),
            head_bytes: 32 << 10,
            body_bytes: 16 << 20,
            grace: Duration::from_secs(10),
        }
    }
}

/// Fields of a request's head, at most.
const MAX_FIELDS: usize = 128;
/// How long no connection is accepted after the system could not give one.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// Answers one request. When the client is gone, the future is dropped.
    fn answer(
        &self,
        request: Request<Bounded>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Serves until `end` comes. Then nothing more is accepted, idle connections are closed, and requests that are
/// under way have [`Bounds::grace`].
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    bounds: Bounds,
    end: impl Future<Output = ()>,
) {
    let mut end = std::pin::pin!(end);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let (ending, ended) = tokio::sync::watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut end => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles, or the like.
            sleep(PAUSE).await;
            continue;
        };
        // Who finds no place is told so by the end of the connection: a word would have to be waited for.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let stream = TokioIo::new(Patient::new(stream, bounds.silence));
        let handler = Arc::clone(&handler);
        let mut ended = ended.clone();
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(|request: Request<_>| {
                let handler = Arc::clone(&handler);
                let bounded = |body| Bounded::new(body, bounds.silence, bounds.body_bytes);
                let request = request.map(bounded);
                async move { Ok::<_, Infallible>(handler.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(bounds.head)
                .max_headers(MAX_FIELDS)
                .max_buf_size(bounds.head_bytes.max(8 << 10))
                .half_close(false)
                .serve_connection(stream, service);
            let mut connection = std::pin::pin!(connection);
            // What breaks a connection is the client's affair.
            let _ = timeout(bounds.life, async {
                tokio::select! {
                    biased;
                    done = &mut connection => return done,
                    _ = ended.wait_for(|ended| *ended) => {}
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            })
            .await;
        });
    }
    drop(listener);
    ending.send_replace(true);
    let _ = timeout(bounds.grace, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    // Those that are left end with the set.
}

#[cfg(test)]
mod tests;
