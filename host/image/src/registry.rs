//! Reading from a registry (OCI distribution specification 1.1): requests, authentication, limits.
//!
//! Everything that is read here comes from the registry's side and is bounded: a manifest, a token
//! and a blob have limits in bytes, and every request has limits in time. Requests go over TLS; plain
//! http only to hosts that the settings name, which includes redirects and token services.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use proplet_net::Proxy;
use proplet_net::reach::{self, Answer, BodyError, Client, Endpoints, Route};
use proplet_net::retry::{self, Tries};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE,
    WWW_AUTHENTICATE,
};
use reqwest::{Body, Method, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::challenge::{self, Challenge};
use crate::credentials::{Credential, Credentials};
use crate::error::ImageError;
use crate::reference::ImageReference;

/// The largest answer of a token service, in bytes.
const MAX_TOKEN_BYTES: u64 = 256 * 1024;
/// The most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// The most repositories whose tokens are kept.
const MAX_TOKENS: usize = 256;
/// The longest that an upload can take on any line that is let go on.
const LONGEST_UPLOAD: Duration = Duration::from_secs(24 * 60 * 60);
/// The host that serves what references call `docker.io`.
const DOCKER_HUB: &str = "index.docker.io";

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Credentials, a file in the form of docker's `config.json`. Without it, access is anonymous.
    pub auth_file: Option<PathBuf>,
    /// Credentials that were read already, which then stand in for `auth_file`.
    pub credentials: Option<Credentials>,
    /// Hosts, with their port if any, that are spoken to over plain http. Everything else is TLS.
    pub http_hosts: Vec<String>,
    /// Hosts, with their port if any, that may be at private addresses, as those of `http_hosts` may.
    /// Everything else must be public ([`proplet_net::reach::Reach`]).
    pub private_hosts: Vec<String>,
    /// PEM certificates that are trusted instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The proxy through which registries are reached; none by default, whatever the environment says.
    pub proxy: Option<Proxy>,
    /// The largest layer in bytes, as it is in the registry and as it unpacks.
    pub max_layer_bytes: u64,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a connection may stay silent.
    pub read_timeout: Duration,
    /// How long resolving or pulling one image may take in all.
    pub deadline: Duration,
    /// The wait before the second try of a request; it doubles with each further one.
    pub retry_delay: Duration,
}

impl Default for RegistryConfig {
    /// Anonymous access over TLS with the system's certificates, layers up to 256 MiB, 10 s to
    /// connect, 30 s of silence, 5 min in all, 250 ms before a second try.
    fn default() -> Self {
        Self {
            auth_file: None,
            credentials: None,
            http_hosts: Vec::new(),
            private_hosts: Vec::new(),
            ca_pem: None,
            proxy: None,
            max_layer_bytes: 256 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(300),
            retry_delay: Duration::from_millis(250),
        }
    }
}

impl RegistryConfig {
    pub(crate) fn credentials(&self) -> Result<Credentials, ImageError> {
        match (&self.credentials, &self.auth_file) {
            (Some(credentials), _) => Ok(credentials.clone()),
            (None, Some(path)) => Credentials::read(path),
            (None, None) => Ok(Credentials::default()),
        }
    }

    /// The HTTP client of these settings.
    ///
    /// # Errors
    /// [`ImageError::Settings`] when a host is none or the CA cannot be used.
    pub fn client(&self) -> Result<Client, ImageError> {
        // Docker Hub has one name in references and others on the wire.
        let hub = self
            .private_hosts
            .iter()
            .any(|host| host == "docker.io")
            .then_some(DOCKER_HUB);
        let private = self.private_hosts.iter().map(String::as_str).chain(hub);
        let endpoints = Endpoints::new(self.http_hosts.iter().map(String::as_str), private)
            .map_err(|e| ImageError::Settings {
                why: format!("registry hosts: {e}"),
            })?;
        Client::new(reach::Config {
            endpoints,
            ca_pem: self.ca_pem.clone(),
            proxy: self.proxy.clone(),
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout,
        })
        .map_err(|e| ImageError::Settings {
            why: format!("registry: {e}"),
        })
    }

    pub(crate) fn is_plain_http(&self, host: &str) -> bool {
        self.http_hosts
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(host))
    }
}

/// A reader of registries. Keeps the tokens that it was given.
pub(crate) struct Registry {
    http: Client,
    config: RegistryConfig,
    credentials: Credentials,
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

#[derive(Deserialize)]
struct Token {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

impl Registry {
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
            credentials,
            rights,
            authorizations: Mutex::default(),
        })
    }

    pub(crate) fn config(&self) -> &RegistryConfig {
        &self.config
    }

    /// The whole of `path` (`manifests/…` or `blobs/…`) of the reference's repository, at most `limit`
    /// bytes, with the headers that came with it. Tried again until the deadline.
    pub(crate) async fn read(
        &self,
        request: &Request<'_>,
        limit: u64,
        what: &str,
    ) -> Result<(HeaderMap, Vec<u8>), ImageError> {
        let mut tries = self.tries();
        loop {
            let trouble = match self.open(request, 0).await {
                Ok(answer) => {
                    expect_length(request, &answer, what)?;
                    let headers = answer.response.headers().clone();
                    match answer.bytes(limit).await {
                        Ok(bytes) => return Ok((headers, bytes)),
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
        let mut asked = false;
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
            if !is_challenge || asked {
                return Ok(answer);
            }
            asked = true;
            let headers = answer.response.headers().get_all(WWW_AUTHENTICATE);
            let wanted = challenge::parse(headers.iter().filter_map(|v| v.to_str().ok()));
            drop(answer);
            let authorization = self.authorize(reference, wanted).await?;
            self.remember(reference, authorization);
        }
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

    /// The `Authorization` header that answers a challenge.
    async fn authorize(
        &self,
        reference: &ImageReference,
        wanted: Option<Challenge>,
    ) -> Result<HeaderValue, Trouble> {
        let credential = self
            .credentials
            .find(reference.registry(), reference.repository())?;
        let (realm, service, scope) = match (wanted, credential) {
            (_, Some(Credential::Bearer(token))) => return Ok(bearer(token, reference)?),
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => (realm, service, scope),
            (Some(Challenge::Basic), Some(Credential::Basic { username, password })) => {
                return Ok(basic(username, password, reference)?);
            }
            (Some(Challenge::Basic), Some(Credential::Identity(_))) => {
                return Err(identity_unwanted(reference).into());
            }
            (None | Some(Challenge::Basic), _) => return Err(self.unauthorized(reference).into()),
        };
        let mut scope =
            scope.unwrap_or_else(|| format!("repository:{}:pull", reference.repository()));
        if self.rights == Rights::PullAndPush {
            scope.push_str(",push");
        }
        let url = Url::parse(&realm)
            .map_err(|_| unavailable(reference, "its token service's address is no URL"))?;
        let answer = self
            .ask_for_token(url, service.as_deref(), &scope, credential, reference)
            .await?;
        let status = answer.response.status();
        if !status.is_success() {
            let error = match status {
                // That the credentials are wrong is what people need to know most.
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                    self.unauthorized(reference)
                }
                status if answer.foreign => sent_on(reference, &answer.host, status),
                status => unavailable(
                    reference,
                    format!("its token service answered with {status}"),
                ),
            };
            return Err(Trouble::of_status(error, &answer));
        }
        let body = answer.bytes(MAX_TOKEN_BYTES).await;
        let body = Zeroizing::new(
            body.map_err(|e| body_trouble(reference, e, "answer of the token service"))?,
        );
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| unavailable(reference, "its token service's answer holds no token"))?;
        // Some services send both names and leave one of them empty.
        let token = [token.token, token.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| unavailable(reference, "its token service's answer holds no token"))?;
        Ok(bearer(&token, reference)?)
    }

    /// Asks a token service: by GET, with a name and a password or without; an identity token is
    /// exchanged by POST, as OAuth 2.0 has it (RFC 6749 section 6).
    async fn ask_for_token(
        &self,
        mut url: Url,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
        reference: &ImageReference,
    ) -> Result<Answer, Trouble> {
        // A token service elsewhere is foreign too: the registry chose it.
        let home = self.url(reference, "")?;
        let route = Route {
            home: &home,
            redirects: MAX_REDIRECTS,
        };
        let mut headers = HeaderMap::new();
        let answer = if let Some(Credential::Identity(token)) = credential {
            let form = refresh_form(token, service, scope);
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, kind);
            let body = || Body::from(form.as_str().to_owned());
            self.http
                .request(route, Method::POST, url, &headers, body)
                .await
        } else {
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                query.append_pair("scope", scope);
            }
            if let Some(Credential::Basic { username, password }) = credential {
                headers.insert(AUTHORIZATION, basic(username, password, reference)?);
            }
            self.http.get(route, url, &headers).await
        };
        answer.map_err(|e| unreachable(reference, e))
    }

    /// The registry refused who we are. A credential that was never asked for is named.
    pub(crate) fn unauthorized(&self, reference: &ImageReference) -> ImageError {
        let (registry, repository) = (reference.registry(), reference.repository());
        self.credentials
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

/// Why a try failed, and whether another one may help.
#[derive(Debug)]
pub(crate) struct Trouble {
    error: ImageError,
    /// Whether it may pass.
    passing: bool,
    /// What the server asked to be given.
    asked: Option<Duration>,
    /// Whether the registry sent us to who failed. How often that was tried tells that it may pass,
    /// which is more than is told of such hosts.
    foreign: bool,
}

impl Trouble {
    pub(crate) fn passing(error: ImageError) -> Self {
        Self {
            error,
            passing: true,
            asked: None,
            foreign: false,
        }
    }

    /// Whether the registry said that it has no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.error, ImageError::NotFound { .. })
    }

    /// The same, to be tried in another way.
    pub(crate) fn but_passing(self) -> Self {
        Self {
            passing: true,
            ..self
        }
    }

    pub(crate) fn of_status(error: ImageError, answer: &Answer) -> Self {
        Self {
            error,
            passing: retry::may_pass(answer.response.status()),
            asked: retry::retry_after(answer.response.headers(), SystemTime::now()),
            foreign: answer.foreign,
        }
    }
}

impl From<ImageError> for Trouble {
    fn from(error: ImageError) -> Self {
        Self {
            error,
            passing: false,
            asked: None,
            foreign: false,
        }
    }
}

/// Waits until the next try is due, or says why there is none.
pub(crate) async fn pause(
    tries: &mut Tries,
    trouble: Trouble,
    deadline: Instant,
) -> Result<(), ImageError> {
    if !trouble.passing {
        return Err(trouble.error);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    match tries.failed(trouble.asked, left) {
        Some(wait) => {
            tracing::debug!(error = %trouble.error, ?wait, "trying the registry again");
            tokio::time::sleep(wait).await;
            Ok(())
        }
        None => Err(match trouble.error {
            ImageError::Unavailable { registry, why } if !trouble.foreign => {
                let made = tries.made();
                let asked = trouble.asked.filter(|asked| *asked >= left);
                let asked = asked.map_or_else(String::new, |asked| {
                    format!(", and asks for {} s until the next", asked.as_secs())
                });
                let times = if made == 1 { "time" } else { "times" };
                ImageError::Unavailable {
                    registry,
                    why: format!("{why} (tried {made} {times}{asked})"),
                }
            }
            error => error,
        }),
    }
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

/// A body that could not be read to its end.
pub(crate) fn body_trouble(reference: &ImageReference, error: BodyError, what: &str) -> Trouble {
    match error {
        BodyError::TooLarge(limit) => ImageError::TooLarge {
            what: what.to_owned(),
            limit,
        }
        .into(),
        BodyError::Encoding(_) => ImageError::layout(what, error.to_string()).into(),
        BodyError::Broken(error) => unreachable(reference, error),
    }
}

pub(crate) fn unavailable(reference: &ImageReference, why: impl Into<String>) -> ImageError {
    ImageError::Unavailable {
        registry: reference.registry().to_owned(),
        why: why.into(),
    }
}

/// A request that brought no answer. A refused address of the registry itself is a matter of the
/// settings, not of the registry.
pub(crate) fn unreachable(reference: &ImageReference, error: reach::Error) -> Trouble {
    match error {
        reach::Error::Refused { .. } => ImageError::NotAllowed {
            why: error.to_string(),
        }
        .into(),
        error => Trouble {
            passing: error.is_transient(),
            foreign: matches!(error, reach::Error::Foreign { .. }),
            error: unavailable(reference, error.to_string()),
            asked: None,
        },
    }
}

/// The answer of a host that the registry sent us to, of which nothing is told.
pub(crate) fn sent_on(reference: &ImageReference, host: &str, status: StatusCode) -> ImageError {
    tracing::warn!(
        "{host}, which registry {} sent this host to, answered with {status}",
        reference.registry()
    );
    unavailable(reference, reach::foreign_words(host))
}

/// The form that exchanges an identity token.
fn refresh_form(token: &str, service: Option<&str>, scope: &str) -> Zeroizing<String> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", token)
        .append_pair("client_id", "proplet")
        .append_pair("scope", scope);
    if let Some(service) = service {
        form.append_pair("service", service);
    }
    Zeroizing::new(form.finish())
}

fn identity_unwanted(reference: &ImageReference) -> ImageError {
    ImageError::Settings {
        why: format!(
            "the credentials file has an identity token for registry {}, which asks for a name and a \
             password: put these there",
            reference.registry()
        ),
    }
}

fn scope(reference: &ImageReference) -> (String, String) {
    (
        reference.registry_host().to_owned(),
        reference.repository().to_owned(),
    )
}

fn bearer(token: &str, reference: &ImageReference) -> Result<HeaderValue, ImageError> {
    sensitive(Zeroizing::new(format!("Bearer {token}")), reference)
}

fn basic(
    username: &str,
    password: &str,
    reference: &ImageReference,
) -> Result<HeaderValue, ImageError> {
    use base64::Engine;
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()));
    sensitive(
        Zeroizing::new(format!("Basic {}", encoded.as_str())),
        reference,
    )
}

fn sensitive(
    text: Zeroizing<String>,
    reference: &ImageReference,
) -> Result<HeaderValue, ImageError> {
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        unavailable(
            reference,
            "its token has characters that no header can hold",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
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
        let error = Registry::new(config).err().unwrap();
        assert_eq!(error.code(), "image-settings");
    }
}
