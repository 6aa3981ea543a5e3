//! gRPC over plain HTTP/2 on a loopback address, with a bound on everything that a peer chooses.
//!
//! There is no TLS and nobody is asked who they are, because the stock programs that speak these interfaces do
//! neither: the interface is everybody's on this machine. So it listens on loopback and nowhere else, and what it
//! gives is decided by the interfaces themselves. The one exception is evidence, where the settings ask for it in so many
//! words: a whole interface made for that ([`Listener::bind_for_everybody`]).
//!
//! Bounds: connections, requests at once over all of them and over one, the size of a message in either direction,
//! headers, the time of a request, the time in which its answer is read, and the silence of a peer. What exceeds one is
//! refused and not queued. A request counts from when its message is there until its answer is written.

mod answer;
mod codec;
mod connection;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{
    Status,
    body::Body,
    codegen::Service,
    server::{Grpc, UnaryService},
    transport::Server,
};
use zeroize::Zeroizing;

use self::{
    answer::{Answer, Cut, Place},
    codec::BytesCodec,
    connection::Connection,
};

/// Connections at once.
const MAX_CONNECTIONS: usize = 32;
/// Requests at once, over all connections.
const MAX_REQUESTS: usize = 32;
/// Requests at once, over one connection.
const MAX_STREAMS: u32 = 4;
/// Largest request. The largest good one is a key packet of a few kilobytes.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Largest answer: evidence with a long event log.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Largest headers of a request.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a peer may take to read an answer.
const READING: Duration = Duration::from_secs(10);
/// How often a peer is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// The wait after a connection could not be accepted, for want of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long requests may take to end when the server stops.
const STOPPING: Duration = Duration::from_secs(5);

/// One gRPC service: methods that take a message and give one.
#[async_trait]
pub trait Interface: Send + Sync + 'static {
    /// Package and name, as they stand in a request's path.
    fn name(&self) -> &'static str;

    /// Answers one request. Both messages are in protobuf.
    ///
    /// # Errors
    /// The status that the caller gets.
    async fn answer(&self, method: &str, message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status>;
}

/// Why an interface cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can be reached from elsewhere.
    #[error(
        "{0} is no loopback address: this interface answers whoever asks, so it listens on 127.0.0.1 or [::1] only"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error(
        "cannot listen on {address}: {source}; stop what listens there, or choose another port"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// An address that is ours, and where nobody is answered yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes a loopback address. Port 0 is any that is free.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        Self::bind_for_everybody(address).await
    }

    /// Takes any address, for an interface that gives nothing which a stranger may not have. Port 0 is any that is free.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind_for_everybody(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves an interface from now on. No request takes longer than `patience`.
    #[must_use]
    pub fn serve(self, interface: Arc<dyn Interface>, patience: Duration) -> Serving {
        let Self { listener, address } = self;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let incoming = stream::unfold((listener, places), |(listener, places)| async move {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            let accepted = listener.accept().await;
            if accepted.is_err() {
                sleep(ACCEPT_PAUSE).await;
            }
            let accepted = accepted.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                Connection::new(stream, SILENCE, place)
            });
            Some((accepted, (listener, places)))
        });
        let served = Served {
            interface,
            places: Arc::new(Semaphore::new(MAX_REQUESTS)),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Server::builder()
            .timeout(patience)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING))
            .serve_with_incoming_shutdown(served, Box::pin(incoming), async {
                // Also when the handle is dropped.
                let _ = stopped.await;
            });
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::warn!(%address, %error, "the interface is served no longer");
            }
        });
        Serving {
            address,
            stop: Some(stop),
            task,
        }
    }
}

/// An interface that is being served. It ends when this is dropped.
pub struct Serving {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further connections, and lets requests that run end for a few seconds.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let _ = timeout(STOPPING, &mut self.task).await;
    }

    /// Waits until it ends by itself, which it does not while all is well.
    pub async fn ended(&mut self) {
        let _ = (&mut self.task).await;
    }
}

/// What tonic calls for every request.
#[derive(Clone)]
struct Served {
    interface: Arc<dyn Interface>,
    places: Arc<Semaphore>,
}

impl Served {
    async fn respond(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (service, method) = (parts.next(), parts.next());
        let name = self.interface.name();
        let Some(method) = method.filter(|_| service == Some(name)) else {
            let words = format!("only the service {name} is served here");
            return Status::unimplemented(words).into_http();
        };
        let cut = request.extensions().get::<Cut>().cloned();
        let place = Place::default();
        let method = Method {
            interface: Arc::clone(&self.interface),
            name: method.to_owned(),
            places: Arc::clone(&self.places),
            place: Arc::clone(&place),
        };
        let response = Grpc::new(BytesCodec)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(MAX_ANSWER_BYTES)
            .unary(method, request)
            .await;
        response.map(|body| Body::new(Answer::new(body, place, cut, READING)))
    }
}

impl Service<Request<Body>> for Served {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let served = self.clone();
        Box::pin(async move { Ok(served.respond(request).await) })
    }
}

/// One method of the interface.
struct Method {
    interface: Arc<dyn Interface>,
    name: String,
    places: Arc<Semaphore>,
    /// Where the place goes, which the answer keeps.
    place: Place,
}

impl UnaryService<Bytes> for Method {
    type Response = Zeroizing<Vec<u8>>;
    type Future =
        Pin<Box<dyn Future<Output = Result<tonic::Response<Self::Response>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (interface, name) = (Arc::clone(&self.interface), self.name.clone());
        let free = Arc::clone(&self.places).try_acquire_owned();
        let Ok(()) = free.map(|free| drop(self.place.set(free))) else {
            let words = "as many requests as this interface takes are being answered: ask again in a moment";
            return Box::pin(async move { Err(Status::resource_exhausted(words)) });
        };
        Box::pin(async move {
            let answer = interface.answer(&name, request.into_inner()).await?;
            Ok(tonic::Response::new(answer))
        })
    }
}
