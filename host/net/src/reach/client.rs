//! The HTTP client: one request, hop by hop.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode};
use url::{Host, Url};

use super::address::Reach;
use super::endpoint::Endpoints;
use super::error::{Error, SetupError, authority};
use super::resolver::Filtered;
use crate::names::Names;
use crate::{Proxy, tls};

/// How the client connects.
#[derive(Debug, Clone)]
pub struct Config {
    /// Endpoints that the settings name.
    pub endpoints: Endpoints,
    /// PEM certificates that are trusted instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The proxy of the settings. It connects for us to where names lead, and so judges them for us.
    pub proxy: Option<Proxy>,
    /// How names are looked up. Clients that share it share its bound.
    pub names: Names,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a connection may stay silent.
    pub read_timeout: Duration,
}

/// Makes requests to where strangers say, under the rules of this crate.
pub struct Client {
    /// For everybody.
    public: reqwest::Client,
    /// For endpoints that the settings name: their names may resolve to private addresses.
    named: reqwest::Client,
    endpoints: Endpoints,
    /// The proxy's own name, where requests to it would not go through the proxy: it is resolved to whatever address
    /// it has, so that the proxy is reached, and so nobody is sent to it.
    direct_proxy: Option<String>,
}

/// Where a request goes and how far it may be sent on.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The host that was asked for by whoever reads the answer. Every other host is foreign.
    pub home: &'a Url,
    /// The most redirects that are followed.
    pub redirects: usize,
}

/// An answer, of whatever status.
pub struct Answer {
    /// The answer, its body unread.
    pub response: Response,
    /// Whether another host than the one that was asked for gave it. Its status and its words are
    /// nobody's business then.
    pub foreign: bool,
    /// Host and port that gave it.
    pub host: String,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// [`SetupError`] when the CA cannot be used.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let tls = tls::client_config_if_any(config.ca_pem.as_deref())?;
        let proxy = config.proxy.as_ref();
        let client = |most| {
            crate::client(tls.clone(), proxy)
                .and_then(|builder| {
                    builder
                        .user_agent(concat!("proplet/", env!("CARGO_PKG_VERSION")))
                        .connect_timeout(config.connect_timeout)
                        .read_timeout(config.read_timeout)
                        .redirect(reqwest::redirect::Policy::none())
                        .retry(reqwest::retry::never())
                        .referer(false)
                        .dns_resolver(Arc::new(Filtered {
                            names: config.names.clone(),
                            most,
                            proxy: proxy.map(|proxy| proxy.host().to_owned()),
                        }))
                        .build()
                })
                .map_err(|error| SetupError::Http(error.to_string()))
        };
        Ok(Self {
            public: client(Reach::Public)?,
            named: client(Reach::Private)?,
            endpoints: config.endpoints,
            direct_proxy: proxy
                .filter(|proxy| proxy.excepts_itself())
                .map(|proxy| proxy.host().to_owned()),
        })
    }

    /// Sends a GET request and follows redirects.
    ///
    /// `Authorization` (from `headers` or from the URL's user name and password) goes to the first host
    /// only. The answer comes as it lies there: no compression is asked for and none is undone.
    ///
    /// # Errors
    /// [`Error`]. A status of the server is not an error.
    pub async fn get(
        &self,
        route: Route<'_>,
        url: Url,
        headers: &HeaderMap,
    ) -> Result<Answer, Error> {
        self.request(route, Method::GET, url, headers, Body::default)
            .await
    }

    /// Sends a request with a body that is made once for each hop. Redirects of GET and HEAD are
    /// followed as [`get`](Self::get) does it; those of others are the answer, so that a body, which
    /// can be a credential, goes to the first host only.
    ///
    /// # Errors
    /// [`Error`]. A status of the server is not an error.
    pub async fn request(
        &self,
        route: Route<'_>,
        method: Method,
        url: Url,
        headers: &HeaderMap,
        body: impl Fn() -> Body,
    ) -> Result<Answer, Error> {
        let follows = matches!(method, Method::GET | Method::HEAD);
        let mut at = url;
        let mut headers = headers.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut followed = 0;
        loop {
            let foreign = at.origin() != route.home.origin();
            let hop = self.hop(&method, &at, &headers, body());
            let response = hop.await.map_err(|error| match error {
                Hop::Refused(error) => error.told(foreign),
                Hop::Broken(error) => Error::failed(error, &at, foreign),
            })?;
            let host = authority(&at);
            let next = redirect(&response, &at).filter(|_| follows);
            let Some(next) = next else {
                return Ok(Answer {
                    response,
                    foreign,
                    host,
                });
            };
            if followed >= route.redirects {
                let words = format!("{host} redirected more than {} times", route.redirects);
                return Err(lasting(words, foreign, host));
            }
            followed += 1;
            if next.origin() != at.origin() {
                headers.remove(AUTHORIZATION);
            }
            at = next;
        }
    }

    async fn hop(
        &self,
        method: &Method,
        at: &Url,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Hop> {
        let host = authority(at);
        if !self.endpoints.permit_scheme(at) {
            return Err(Hop::Refused(Error::PlainHttp { host }));
        }
        let named = self.endpoints.name(at);
        let is_proxy = self.direct_proxy.is_some() && self.direct_proxy.as_deref() == at.host_str();
        if is_proxy && !named {
            return Err(Hop::Refused(Error::Refused { host }));
        }
        // No resolver is asked about a host that is an address.
        let literal = match at.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        if literal.is_some_and(|address| !named && Reach::of(address) != Reach::Public) {
            return Err(Hop::Refused(Error::Refused { host }));
        }
        let client = if named { &self.named } else { &self.public };
        client
            .request(method.clone(), at.clone())
            .headers(headers.clone())
            .body(body)
            .send()
            .await
            .map_err(Hop::Broken)
    }
}

/// Why one hop brought nothing.
enum Hop {
    Refused(Error),
    Broken(reqwest::Error),
}

fn lasting(words: String, foreign: bool, host: String) -> Error {
    let transient = false;
    if foreign {
        tracing::warn!("{words}");
        Error::Foreign { host, transient }
    } else {
        Error::Failed { words, transient }
    }
}

/// Where an answer sends us to, without user name and password: those of the address before would come
/// along with a relative redirect, and nobody else's are ours to use.
fn redirect(response: &Response, at: &Url) -> Option<Url> {
    if !matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    ) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut next = at.join(location).ok()?;
    let _ = next.set_username("");
    let _ = next.set_password(None);
    Some(next)
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
