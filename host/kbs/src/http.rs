//! HTTP as the protocol needs it: one server, bounded answers, a deadline, and second tries only
//! where a second try can help.
//!
//! No redirects (they would carry the token elsewhere), no proxy but the settings', no cookie jar, no
//! decompression. What is tried again: connections that fail and statuses that say that the
//! server is in trouble. What is not: any answer of the KBS itself, and TLS failures, since a wrong
//! certificate does not become right.

use std::error::Error as StdError;
use std::time::Duration;

use proplet_net::tls;
use proplet_types::text::server_words;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::config::Base;
use crate::resolve::{NameNotFound, Resolver};
use crate::{Failure, KbsConfig, KbsError, Peer};

/// How much of an error answer is read.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// How many times the first delay the longest one is.
const MAX_DELAY_FACTOR: u32 = 32;

/// One request.
pub(crate) struct Exchange {
    pub(crate) method: Method,
    /// Below `/kbs/v0/` of a KBS, below the address of an attestation service.
    pub(crate) path: String,
    /// Credentials and content type.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The largest good answer, in bytes.
    pub(crate) limit: usize,
}

/// One answer, of whatever status that does not say that the server is in trouble.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// The body was longer than the limit; it is cut.
    pub(crate) cut: bool,
}

/// The way to one KBS or attestation service.
pub(crate) struct Http {
    client: Client,
    base: Base,
    peer: Peer,
    retry_delay: Duration,
}

impl Http {
    pub(crate) fn new(config: &KbsConfig) -> Result<Self, KbsError> {
        Self::to(
            Peer::KeyBroker,
            config.base()?,
            config.ca_pem.as_deref(),
            config,
        )
    }

    /// The way to an attestation service: with a CA of its own, and for the rest as the KBS is reached.
    pub(crate) fn to_service(
        url: &Url,
        ca_pem: Option<&[u8]>,
        config: &KbsConfig,
    ) -> Result<Self, KbsError> {
        let peer = Peer::AttestationService;
        let base = Base::new(peer, url, config.allow_http)?;
        Self::to(peer, base, ca_pem, config)
    }

    fn to(
        peer: Peer,
        base: Base,
        ca_pem: Option<&[u8]>,
        config: &KbsConfig,
    ) -> Result<Self, KbsError> {
        let tls = match base.scheme() {
            "http" => tls::no_trust(),
            _ => tls::client_config(ca_pem),
        }
        .map_err(|error| KbsError::Config(format!("TLS to the {peer}: {error}")))?;
        let unmade = |error: reqwest::Error| {
            let (_, cause) = broken(&error);
            KbsError::Config(format!("the HTTP client cannot be made: {cause}"))
        };
        let client = proplet_net::client(tls, config.proxy.as_ref())
            .map_err(unmade)?
            .https_only(base.scheme() == "https")
            .user_agent(concat!("proplet-kbs/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .http1_only()
            .connect_timeout(config.connect_timeout)
            .dns_resolver(std::sync::Arc::new(Resolver::default()))
            .build()
            .map_err(unmade)?;
        Ok(Self {
            client,
            base,
            peer,
            retry_delay: config.retry_delay,
        })
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// Method and path, for messages.
    pub(crate) fn label(&self, exchange: &Exchange) -> String {
        format!("{} {}{}", exchange.method, self.base.api(), exchange.path)
    }

    /// An error that says that the server is unavailable.
    pub(crate) fn unavailable(&self, failure: Failure, detail: impl Into<String>) -> KbsError {
        KbsError::Unavailable {
            peer: self.peer,
            url: self.base.origin(),
            failure,
            detail: detail.into(),
        }
    }

    /// Sends a request until the server answers it, the failure is a lasting one, or the deadline leaves
    /// no room for another try.
    pub(crate) async fn send(
        &self,
        exchange: &Exchange,
        deadline: Instant,
    ) -> Result<Answer, KbsError> {
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            let (failure, detail) = match self.attempt(exchange, deadline).await {
                Ok(answer) if !self.in_trouble(answer.status) => return Ok(answer),
                Ok(answer) => {
                    let words = server_words(&String::from_utf8_lossy(&answer.body));
                    (Failure::Status(answer.status.as_u16()), words)
                }
                Err(broken) => broken,
            };
            let delay = self.delay(tries);
            let late = Instant::now()
                .checked_add(delay)
                .is_none_or(|then| then >= deadline);
            if late || !failure.is_transient() {
                let times = if tries == 1 {
                    "once".to_owned()
                } else {
                    format!("{tries} times")
                };
                let detail = format!("{} failed: {detail} (tried {times})", self.label(exchange));
                return Err(self.unavailable(failure, detail));
            }
            tracing::debug!(%failure, detail, tries, ?delay, "trying the {} again", self.peer);
            tokio::time::sleep(delay).await;
        }
    }

    /// Sends a request once.
    pub(crate) async fn attempt(
        &self,
        exchange: &Exchange,
        deadline: Instant,
    ) -> Result<Answer, (Failure, String)> {
        let url = self.base.endpoint(&exchange.path);
        let request = self
            .client
            .request(exchange.method.clone(), url)
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .headers(exchange.headers.clone())
            .body(exchange.body.clone());
        let mut answer = request.send().await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let limit = if status.is_success() {
            exchange.limit
        } else {
            MAX_ERROR_BYTES
        };
        let expected = answer
            .content_length()
            .and_then(|n| usize::try_from(n).ok());
        let mut body = Zeroizing::new(Vec::with_capacity(expected.unwrap_or(0).min(limit)));
        let mut cut = false;
        while let Some(chunk) = answer.chunk().await.map_err(|error| broken(&error))? {
            let room = limit.saturating_sub(body.len());
            cut = chunk.len() > room;
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if cut {
                break;
            }
        }
        Ok(Answer {
            status,
            headers: std::mem::take(answer.headers_mut()),
            body,
            cut,
        })
    }

    /// Whether a status says that the server, or something before it, is in trouble. An attestation
    /// service answers with 500 to whatever it refuses, and would again.
    fn in_trouble(&self, status: StatusCode) -> bool {
        let refused =
            self.peer == Peer::AttestationService && status == StatusCode::INTERNAL_SERVER_ERROR;
        (status.is_server_error() && !refused) || status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The wait after `tries` tries: doubled each time, capped, and shortened at random by up to
    /// half, so that a fleet of hosts does not come back in step.
    fn delay(&self, tries: u32) -> Duration {
        let factor = 2u32
            .saturating_pow(tries.saturating_sub(1))
            .min(MAX_DELAY_FACTOR);
        let full = self.retry_delay.saturating_mul(factor);
        let mut random = [0u8; 2];
        // Without random bytes there is still a delay, only not a jittered one.
        let _ = SystemRandom::new().fill(&mut random);
        let share = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
        full.mul_f64(1.0 - share / 2.0)
    }
}

/// A header value that is kept out of logs of the HTTP library.
pub(crate) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where it broke, and the innermost cause in words. The outer layers repeat the URL.
fn broken(error: &reqwest::Error) -> (Failure, String) {
    let mut failure = if error.is_connect() {
        Failure::Connect
    } else if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Transport
    };
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut words = String::new();
    while let Some(this) = cause {
        if this.is::<NameNotFound>() {
            failure = Failure::Dns;
        } else if this.is::<rustls::Error>() {
            failure = Failure::Tls;
        }
        words = this.to_string();
        cause = tls::inner(this);
    }
    // These words are ours, whatever the server sent.
    let explained = tls::explain(error);
    (failure, explained.unwrap_or_else(|| server_words(&words)))
}
