//! Reading from a registry (OCI distribution specification 1.1): requests, authentication, limits.
//!
//! Everything that is read here comes from the registry's side and is bounded: a manifest, a token
//! and a blob have limits in bytes, and every request has limits in time. Requests go over TLS; plain
//! http only to hosts that the settings name, which includes redirects and token services.

mod authorize;
mod config;
mod trouble;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proplet_net::reach::{Answer, Client, Route};
use proplet_net::retry::Tries;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderValue, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Body, Method, StatusCode, Url};
use tokio::time::Instant;

pub use self::config::RegistryConfig;
pub(crate) use self::trouble::{
    Trouble, body_trouble, pause, sent_on, told, unavailable, unreachable,
};
use crate::challenge::{self, Challenge};
use crate::credentials::Credentials;
use crate::error::ImageError;
use crate::reference::ImageReference;

/// The most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// The most repositories whose tokens are kept.
const MAX_TOKENS: usize = 256;
/// The longest that an upload can take on any line that is let go on.
const LONGEST_UPLOAD: Duration = Duration::from_secs(24 * 60 * 60);

/// A reader of registries. Keeps the tokens that it was given.
pub(crate) struct RegistryClient {
    http: Client,
    config: RegistryConfig,
    /// Those of the settings, or the last that the source gave.
    credentials: Mutex<Arc<Credentials>>,
    /// What tokens are asked for besides reading.
    rights: Rights,
    /// By registry and repository.
    authorizations: Mutex<HashMap<(String, String), HeaderValue>>,
}

/// What a token is to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Pull,
    PullAndPush,
}

impl RegistryClient {
    pub(crate) fn new(config: RegistryConfig) -> Result<Self, ImageError> {
        Self::with_rights(config, Rights::Pull)
    }

    /// One that writes too. Its connections may be silent for as long as an upload takes, so whoever
    /// uses it limits its requests in time.
    pub(crate) fn for_push(config: RegistryConfig) -> Result<Self, ImageError> {
        let config = RegistryConfig {
            read_timeout: LONGEST_UPLOAD,
            ..config
        };
        Self::with_rights(config, Rights::PullAndPush)
    }

    fn with_rights(config: RegistryConfig, rights: Rights) -> Result<Self, ImageError> {
        let http = config.client()?;
        let credentials = config.credentials()?;
        Ok(Self {
            http,
            config,
            credentials: Mutex::new(Arc::new(credentials)),
            rights,
            authorizations: Mutex::default(),
        })
    }

    pub(crate) fn config(&self) -> &RegistryConfig {
        &self.config
    }

    /// The whole of `path` (`manifests/…` or `blobs/…`) of the reference's repository, at most `limit`
    /// bytes. Tried again until the deadline.
    pub(crate) async fn read(
        &self,
        request: &Request<'_>,
        limit: u64,
        what: &str,
    ) -> Result<Whole, ImageError> {
        let mut tries = self.tries();
        loop {
            let trouble = match self.open(request, 0).await {
                Ok(answer) => {
                    expect_length(request, &answer, what)?;
                    let headers = answer.response.headers().clone();
                    let foreign = answer.foreign.then(|| answer.host.clone());
                    match answer.bytes(limit).await {
                        Ok(bytes) => {
                            return Ok(Whole {
                                headers,
                                bytes,
                                foreign,
                            });
                        }
                        Err(error) => body_trouble(request.reference, error, what),
                    }
                }
                Err(trouble) => trouble,
            };
            pause(&mut tries, trouble, request.deadline).await?;
        }
    }

    /// The tries of one request.
    pub(crate) fn tries(&self) -> Tries {
        Tries::new(self.config.retry_delay)
    }

    /// One try to get `path`, from byte `start` on, with the authorization that it turns out to need.
    /// The answer is a success whose body is unread. Servers may give the whole all the same.
    pub(crate) async fn open(&self, request: &Request<'_>, start: u64) -> Result<Answer, Trouble> {
        let reference = request.reference;
        let url = self.url(reference, &request.path)?;
        let mut headers = HeaderMap::new();
        if let Ok(accept) = HeaderValue::from_str(request.accept) {
            headers.insert(ACCEPT, accept);
        }
        if start > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={start}-"))
        {
            headers.insert(RANGE, range);
        }
        let answer = self
            .exchange(reference, Method::GET, &url, &headers, Body::default)
            .await?;
        let status = answer.response.status();
        if status.is_success() {
            return Ok(answer);
        }
        let error = match status {
            _ if answer.foreign => sent_on(reference, &answer.host, status),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(reference),
            StatusCode::NOT_FOUND => ImageError::NotFound {
                what: format!(
                    "{} of {}/{}",
                    request.path,
                    reference.registry(),
                    reference.repository()
                ),
            },
            status => unavailable(
                reference,
                format!("it answered {} with {status}", request.path),
            ),
        };
        Err(Trouble::of_status(error, &answer))
    }

    /// One request, with the authorization that it turns out to need. The answer is of any status.
    pub(crate) async fn exchange(
        &self,
        reference: &ImageReference,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: impl Fn() -> Body,
    ) -> Result<Answer, Trouble> {
        let home = self.url(reference, "")?;
        let route = Route {
            home: &home,
            redirects: MAX_REDIRECTS,
        };
        let mut answered = 0;
        loop {
            let mut headers = headers.clone();
            if url.origin() == home.origin()
                && let Some(authorization) = self.remembered(reference)
            {
                headers.insert(AUTHORIZATION, authorization);
            }
            let answer = self
                .http
                .request(route, method.clone(), url.clone(), &headers, &body)
                .await
                .map_err(|e| unreachable(reference, e))?;
            // A challenge counts only from the registry itself: whom it sent us on to, for instance a
            // blob store, has no business with the credentials.
            let is_challenge =
                answer.response.status() == StatusCode::UNAUTHORIZED && !answer.foreign;
            if !is_challenge || answered > 1 {
                return Ok(answer);
            }
            let headers = answer.response.headers().get_all(WWW_AUTHENTICATE);
            let wanted = challenge::parse(headers.iter().filter_map(|v| v.to_str().ok()));
            let authorization = match answered {
                0 => {
                    drop(answer);
                    self.answer(reference, wanted).await?
                }
                // What answered the challenge is refused.
                _ => match self.newer_credentials().await? {
                    Some(newer) => self.authorize(&newer, reference, wanted).await?,
                    None => return Ok(answer),
                },
            };
            answered += 1;
            self.remember(reference, authorization);
        }
    }

    /// The answer to a challenge. A token service that refuses the credentials is shown newer ones, where there
    /// are any.
    async fn answer(
        &self,
        reference: &ImageReference,
        wanted: Option<Challenge>,
    ) -> Result<HeaderValue, Trouble> {
        let credentials = self.fetched_credentials().await?;
        let answered = self.authorize(&credentials, reference, wanted.clone());
        let refused = match answered.await {
            Err(refused) if refused.is_unauthorized() => refused,
            answered => return answered,
        };
        match self.newer_credentials().await? {
            Some(newer) => self.authorize(&newer, reference, wanted).await,
            None => Err(refused),
        }
    }

    /// The credentials, fetched from their source when that is where they are.
    async fn fetched_credentials(&self) -> Result<Arc<Credentials>, ImageError> {
        let Some(source) = &self.config.credential_source else {
            return Ok(self.credentials());
        };
        let credentials = source.credentials().await;
        Ok(self.keep(credentials.map_err(ImageError::Credentials)?))
    }

    /// Newer credentials than those at hand, which a registry refused.
    async fn newer_credentials(&self) -> Result<Option<Arc<Credentials>>, ImageError> {
        let Some(source) = &self.config.credential_source else {
            return Ok(None);
        };
        let newer = source.newer(&self.credentials()).await;
        let newer = newer.map_err(ImageError::Credentials)?;
        Ok(newer.map(|newer| self.keep(newer)))
    }

    fn credentials(&self) -> Arc<Credentials> {
        let credentials = self.credentials.lock();
        Arc::clone(&credentials.unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, credentials: Arc<Credentials>) -> Arc<Credentials> {
        let mut kept = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = Arc::clone(&credentials);
        credentials
    }

    /// The URL of `path` below the repository.
    pub(crate) fn url(&self, reference: &ImageReference, path: &str) -> Result<Url, ImageError> {
        let host = reference.registry_host();
        let scheme = if self.config.is_plain_http(host) {
            "http"
        } else {
            "https"
        };
        Url::parse(&format!(
            "{scheme}://{host}/v2/{}/{path}",
            reference.repository()
        ))
        .map_err(|e| unavailable(reference, format!("its name makes no URL: {e}")))
    }

    /// The registry refused who we are. A credential that was never asked for is named.
    pub(crate) fn unauthorized(&self, reference: &ImageReference) -> ImageError {
        let (registry, repository) = (reference.registry(), reference.repository());
        self.credentials()
            .unasked(registry, repository)
            .unwrap_or_else(|| ImageError::Unauthorized {
                registry: registry.to_owned(),
                repository: repository.to_owned(),
            })
    }

    fn remembered(&self, reference: &ImageReference) -> Option<HeaderValue> {
        let authorizations = self
            .authorizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        authorizations.get(&scope(reference)).cloned()
    }

    fn remember(&self, reference: &ImageReference, authorization: HeaderValue) {
        let mut authorizations = self
            .authorizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if authorizations.len() >= MAX_TOKENS {
            authorizations.clear();
        }
        authorizations.insert(scope(reference), authorization);
    }
}

/// What was read, and with what headers.
pub(crate) struct Whole {
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    /// The host that gave it, when that is one that the registry sent us to.
    pub(crate) foreign: Option<String>,
}

/// What is read, and until when.
pub(crate) struct Request<'a> {
    pub(crate) reference: &'a ImageReference,
    /// Below the repository: `manifests/…` or `blobs/…`.
    pub(crate) path: String,
    pub(crate) accept: &'a str,
    /// The size that it must have, where that is known.
    pub(crate) size: Option<u64>,
    pub(crate) deadline: Instant,
}

/// Refuses a body that is announced with another length than it must have, as long as it is sent as it
/// is.
fn expect_length(request: &Request<'_>, answer: &Answer, what: &str) -> Result<(), ImageError> {
    let headers = answer.response.headers();
    let lengths = request.size.zip(answer.response.content_length());
    match lengths {
        Some((expected, actual))
            if expected != actual && !headers.contains_key(CONTENT_ENCODING) =>
        {
            Err(if answer.foreign {
                sent_on(request.reference, &answer.host, answer.response.status())
            } else {
                ImageError::SizeMismatch {
                    what: what.to_owned(),
                    expected,
                    actual,
                }
            })
        }
        _ => Ok(()),
    }
}

fn scope(reference: &ImageReference) -> (String, String) {
    (
        reference.registry_host().to_owned(),
        reference.repository().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_ca_is_a_settings_error() {
        let config = RegistryConfig {
            ca_pem: Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
            ..RegistryConfig::default()
        };
        let error = RegistryClient::new(config).err().unwrap();
        assert_eq!(error.code(), "image-settings");
    }
}
