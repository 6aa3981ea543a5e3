//! Requests that components make.
//!
//! A component says where, and is trusted no more than other strangers: the rules are those of
//! [`reach`](super), for hosts that somebody listed for it ([`Hosts`]) and no others. One request is one
//! connection: none is kept for another request, so that no task meets the connection of another one, and a
//! connection ends when whoever asked is gone. No redirect is followed: it is an answer, and the component's next
//! request is judged by itself.
//!
//! Everything has a bound ([`Bounds`]): connecting, silence, the head and the body of an answer, the body of a
//! request, how many requests of one component are under way, and how many names its owner's components have looked up
//! ([`names`](crate::names)).

mod body;
mod bounds;
mod error;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use self::body::Connection;
pub use self::body::ResponseBody;
pub use self::bounds::Bounds;
pub use self::error::OutgoingError;
use super::address::Reach;
use super::endpoint::{Endpoint, Endpoints, InvalidEndpoint};
use super::error::{SetupError, authority};
use crate::bounded::Bounded;
use crate::names::{Asker, Names};
use crate::tls;

/// Fields of an answer's head, at most.
const MAX_FIELDS: usize = 128;

/// The way out, which all tasks share: whom TLS trusts, who knows addresses, what is bounded.
pub struct Network {
    tls: TlsConnector,
    names: Names,
    endpoints: Endpoints,
    bounds: Bounds,
}

impl Network {
    /// With the endpoints that the settings name, the CA that is trusted instead of the system's, and how names are
    /// looked up.
    ///
    /// # Errors
    /// [`SetupError`] when the CA cannot be used.
    pub fn new(
        endpoints: Endpoints,
        ca_pem: Option<&[u8]>,
        bounds: Bounds,
        names: Names,
    ) -> Result<Self, SetupError> {
        let mut tls = tls::client_config_if_any(ca_pem)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // No session of one task is resumed by another.
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls)),
            names,
            endpoints,
            bounds,
        })
    }

    /// The way out for one task of `asker`.
    #[must_use]
    pub fn outgoing(self: &Arc<Self>, hosts: &Hosts, asker: Asker) -> Outgoing {
        Outgoing {
            network: Arc::clone(self),
            hosts: hosts.clone(),
            asker,
            places: Arc::new(Semaphore::new(self.bounds.requests)),
        }
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("endpoints", &self.endpoints)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// Hosts that a component may make requests to.
#[derive(Clone, Debug)]
pub struct Hosts {
    listed: Arc<[Endpoint]>,
    may_be_plain: bool,
}

impl Hosts {
    /// These, written `name` or `name:port`. Whether plain http is possible at all; where it is, the settings
    /// have to list the host for it.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for the first text that is none.
    pub fn new<'a>(
        hosts: impl IntoIterator<Item = &'a str>,
        may_be_plain: bool,
    ) -> Result<Self, InvalidEndpoint> {
        let listed: Result<Vec<Endpoint>, _> = hosts.into_iter().map(str::parse).collect();
        Ok(Self {
            listed: listed?.into(),
            may_be_plain,
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    fn list(&self, url: &Url) -> bool {
        self.listed.iter().any(|endpoint| endpoint.covers(url))
    }
}

/// How long whoever asks is willing to wait. The bounds hold all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// For the connection.
    pub connect: Option<Duration>,
    /// For the head of the answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub between_bytes: Option<Duration>,
}

/// The way out for one task.
#[derive(Clone, Debug)]
pub struct Outgoing {
    network: Arc<Network>,
    hosts: Hosts,
    /// On whose behalf names are looked up: a task's place is free when its request is given up, which ends no
    /// lookup.
    asker: Asker,
    places: Arc<Semaphore>,
}

impl Outgoing {
    /// Sends one request, whose `Host` is that of its address whatever it says itself, and gives the answer, of
    /// whatever status, when its head is there.
    ///
    /// # Errors
    /// [`OutgoingError`].
    pub async fn send<B>(
        self,
        request: Request<B>,
        patience: Patience,
    ) -> Result<Response<ResponseBody>, OutgoingError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (url, request) = self.judge(request)?;
        let network = &self.network;
        let bounds = &network.bounds;
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| OutgoingError::TooMany(bounds.requests))?;
        let within = at_most(patience.connect, bounds.connect);
        let stream = timeout(within, network.connect(&url, self.asker))
            .await
            .map_err(|_| OutgoingError::ConnectTimeout)??;

        let limit = usize::try_from(bounds.body_bytes).unwrap_or(usize::MAX);
        let request = request.map(|body| Box::pin(Limited::new(body, limit)));
        let exchange = async {
            let (mut sender, connection) = http1::Builder::new()
                .max_headers(MAX_FIELDS)
                .max_buf_size(bounds.head_bytes.max(8 << 10))
                .handshake(TokioIo::new(stream))
                .await?;
            // It ends with the answer's body, or with whoever stops waiting for the answer.
            let connection = Connection(tokio::spawn(connection));
            let answer = sender.send_request(request).await?;
            Ok((answer, connection))
        };
        let within = at_most(patience.first_byte, bounds.silence);
        let (answer, connection) = timeout(within, exchange)
            .await
            .map_err(|_| OutgoingError::AnswerTimeout)?
            .map_err(|error: hyper::Error| OutgoingError::of_exchange(&error, bounds))?;
        let silence = at_most(patience.between_bytes, bounds.silence);
        Ok(answer.map(|body| {
            let body = Bounded::new(body, silence, bounds.body_bytes);
            ResponseBody::new(body, connection, place)
        }))
    }

    /// Whether this request may be made, and the form in which it goes out.
    fn judge<B>(&self, request: Request<B>) -> Result<(Url, Request<B>), OutgoingError> {
        let (mut head, body) = request.into_parts();
        if head.method == Method::CONNECT {
            return Err(OutgoingError::Method);
        }
        let url = Url::parse(&head.uri.to_string()).map_err(|_| OutgoingError::Address)?;
        if !url.username().is_empty() || url.password().is_some() || !url.has_host() {
            return Err(OutgoingError::Address);
        }
        let may_be_plain = self.hosts.may_be_plain && self.network.endpoints.permit_scheme(&url);
        if !self.hosts.list(&url) || !(url.scheme() == "https" || may_be_plain) {
            return Err(OutgoingError::NotListed(authority(&url)));
        }
        // What is sent is what was judged. A server tells hosts apart by this field.
        let named = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(OutgoingError::Address),
        };
        let named = HeaderValue::try_from(named).map_err(|_| OutgoingError::Address)?;
        head.headers.insert(HOST, named);
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        head.version = Version::HTTP_11;
        Ok((url, Request::from_parts(head, body)))
    }
}

/// A connection, in clear or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Network {
    async fn connect(&self, url: &Url, asker: Asker) -> Result<Box<dyn Stream>, OutgoingError> {
        let port = url.port_or_known_default().ok_or(OutgoingError::Address)?;
        let addresses = self.addresses(url, asker).await?;
        let mut last = OutgoingError::Unreachable;
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => return self.secure(url, stream).await,
                Err(error) => last = OutgoingError::of_connect(&error),
            }
        }
        Err(last)
    }

    /// The addresses that the connection may be made to. Names are resolved here and nowhere else.
    async fn addresses(&self, url: &Url, asker: Asker) -> Result<Vec<IpAddr>, OutgoingError> {
        let most = match self.endpoints.name(url) {
            true => Reach::Private,
            false => Reach::Public,
        };
        let name = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => return self.literal(url, address.into()),
            Some(Host::Ipv6(address)) => return self.literal(url, address.into()),
            None => return Err(OutgoingError::Address),
        };
        let found = self.names.lookup(&name, asker).await;
        let found = found.map_err(|_| OutgoingError::NotFound)?;
        if found.is_empty() {
            return Err(OutgoingError::NotFound);
        }
        let near = |address: &&IpAddr| Reach::of(**address) <= most;
        let passed: Vec<IpAddr> = found.iter().filter(near).copied().collect();
        match passed.is_empty() {
            true => Err(OutgoingError::Prohibited),
            false => Ok(passed),
        }
    }

    /// An address that the settings name is reached wherever it is.
    fn literal(&self, url: &Url, address: IpAddr) -> Result<Vec<IpAddr>, OutgoingError> {
        match self.endpoints.name(url) || Reach::of(address) == Reach::Public {
            true => Ok(vec![address]),
            false => Err(OutgoingError::Prohibited),
        }
    }

    async fn secure(&self, url: &Url, stream: TcpStream) -> Result<Box<dyn Stream>, OutgoingError> {
        // Without it, small requests wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        if url.scheme() != "https" {
            return Ok(Box::new(stream));
        }
        let name = url.host_str().unwrap_or_default();
        let name = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(name).map_err(|_| OutgoingError::Address)?;
        let secured = self.tls.connect(name, stream).await;
        let secured = secured.map_err(|error| OutgoingError::of_tls(&error))?;
        Ok(Box::new(secured))
    }
}

fn at_most(asked: Option<Duration>, bound: Duration) -> Duration {
    asked.map_or(bound, |asked| asked.min(bound))
}

#[cfg(test)]
mod tests;
