//! The client.

use std::fmt;
use std::sync::Arc;

use proplet_hal::TeeProvider;
use proplet_jose::jwe::Jwe;
use proplet_jose::jwk::PrivateKey;
use proplet_types::{ResourceUri, text::server_words};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::handshake::Handshake;
use crate::http::{Answer, Exchange, Http, secret_header};
use crate::protocol::{ErrorBody, SESSION_COOKIE, SentInitData};
use crate::refusal::{Subject, refusal};
use crate::session::{Session, Sessions};
use crate::{Failure, KbsConfig, KbsError, SessionId};

/// Room in an answer for what surrounds the ciphertext of a resource.
const ENVELOPE_BYTES: usize = 16 * 1024;

/// The longest token that is sent as a header. Servers refuse larger ones before they look at them.
const MAX_BEARER_BYTES: usize = 64 * 1024;

/// A resource that the KBS released to this host.
pub struct Resource {
    /// The bytes as their owner stored them, at most [`KbsConfig::max_resource_bytes`]. Wiped when
    /// dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The session under which they were released. Keep them no longer than
    /// [`KbsClient::live_session`] gives the same one.
    pub session: SessionId,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("len", &self.bytes.len())
            .field("session", &self.session)
            .finish()
    }
}

/// A client of one KBS on behalf of one TEE. Clones are cheap and share the session.
///
/// Every call attests first if there is no live session; none asks without one. The token and the
/// session's key stay inside.
#[derive(Clone)]
pub struct KbsClient {
    inner: Arc<Inner>,
}

/// Makes the key of a session.
type KeySource = dyn Fn() -> Result<PrivateKey, proplet_jose::Error> + Send + Sync;

struct Inner {
    config: KbsConfig,
    http: Arc<Http>,
    provider: Arc<dyn TeeProvider>,
    new_key: Box<KeySource>,
    sessions: Arc<Sessions>,
}

impl KbsClient {
    /// A client of the KBS that `config` names, with evidence from `provider`. Sends nothing yet.
    ///
    /// # Errors
    /// [`KbsError::Config`] for an address or CA that cannot work.
    pub fn new(config: KbsConfig, provider: Arc<dyn TeeProvider>) -> Result<Self, KbsError> {
        Self::with_keys(config, provider, Box::new(PrivateKey::generate_p256))
    }

    /// The key is an argument so that recorded answers, which are sealed to a known key, can be
    /// replayed. Not public: a key that outlives its session, or that anybody else knows, is none.
    pub(crate) fn with_keys(
        config: KbsConfig,
        provider: Arc<dyn TeeProvider>,
        new_key: Box<KeySource>,
    ) -> Result<Self, KbsError> {
        let http = Arc::new(Http::new(&config)?);
        let sessions = Arc::new(Sessions::default());
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                http,
                provider,
                new_key,
                sessions,
            }),
        })
    }

    /// Gets a resource. Attests anew at most once, when the KBS no longer accepts the session.
    ///
    /// # Errors
    /// [`KbsError`]: `Denied` and `NotFound` are the KBS's last word, `Unavailable` may pass,
    /// everything else needs a person.
    pub async fn resource(&self, uri: &ResourceUri) -> Result<Resource, KbsError> {
        let inner = &self.inner;
        inner.http.base().check_host(uri)?;
        let deadline = inner.deadline();
        let work = async {
            let mut session = inner.attested().await?;
            match inner.fetch(&session, uri, deadline).await {
                Err(KbsError::TokenRefused { detail }) => {
                    tracing::warn!(session = %session.id, detail, "the KBS ended the session early");
                }
                result => return result,
            }
            inner.sessions.forget(session.id);
            session = inner.attested().await?;
            inner.fetch(&session, uri, deadline).await
        };
        inner.in_time(deadline, work).await
    }

    /// The live session, after attesting if there is none or if it is about to end.
    #[cfg(test)]
    pub(crate) async fn session(&self) -> Result<SessionId, KbsError> {
        let deadline = self.inner.deadline();
        let session = self.inner.in_time(deadline, self.inner.attested()).await?;
        Ok(session.id)
    }

    /// The live session, without any I/O. `None` before the first attestation, after the session's
    /// end, and once the KBS has refused it.
    pub fn live_session(&self) -> Option<SessionId> {
        self.inner.sessions.live().map(|session| session.id)
    }
}

impl fmt::Debug for KbsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KbsClient")
            .field("config", &self.inner.config)
            .field("attester", &self.inner.provider.attester())
            .field("session", &self.live_session())
            .finish()
    }
}

impl Inner {
    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    async fn in_time<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, KbsError>>,
    ) -> Result<T, KbsError> {
        timeout_at(deadline, work).await.unwrap_or_else(|_| {
            let detail = format!("gave up after {:?}", self.config.timeout);
            Err(self.http.unavailable(Failure::Timeout, detail))
        })
    }

    async fn attested(self: &Arc<Self>) -> Result<Arc<Session>, KbsError> {
        self.sessions
            .acquire(|| {
                let inner = self.clone();
                // Its own deadline, not the caller's: others who join it may have more time left.
                let deadline = inner.deadline();
                async move { inner.in_time(deadline, inner.handshake(deadline)).await }
            })
            .await
    }

    /// The init-data document, where the VM was started with it. A VM that was started with another one
    /// does not attest: left out, the document would not be compared, and the KBS would release what it
    /// releases to the VM's own.
    async fn bound_init_data(&self) -> Result<Option<SentInitData>, KbsError> {
        let Some(init_data) = self.config.init_data.as_ref() else {
            return Ok(None);
        };
        let field = self
            .provider
            .init_data()
            .await
            .map_err(|error| KbsError::no_evidence(&error))?;
        match field {
            None => Ok(None),
            Some(field) if init_data.is_bound_by(&field) => Ok(Some(SentInitData {
                format: "toml".to_owned(),
                body: init_data.text().to_owned(),
            })),
            Some(_) => Err(KbsError::Evidence(
                "this VM was started with another init-data document than this program".to_owned(),
            )),
        }
    }

    async fn handshake(&self, deadline: Instant) -> Result<crate::session::Grant, KbsError> {
        let key = (self.new_key)().map_err(|error| KbsError::Evidence(error.to_string()))?;
        let init_data = self.bound_init_data().await?;
        let http = self.http.clone();
        let provider = self.provider.clone();
        Handshake {
            http,
            provider,
            init_data,
            key,
            deadline,
        }
        .run()
        .await
    }

    /// Asks for a resource under a session: by cookie, and when the KBS does not know that, by token.
    async fn fetch(
        &self,
        session: &Session,
        uri: &ResourceUri,
        deadline: Instant,
    ) -> Result<Resource, KbsError> {
        let grant = &session.grant;
        if !session.cookie_is_lost() {
            let pair = Zeroizing::new(format!("{SESSION_COOKIE}={}", grant.cookie.as_str()));
            let (exchange, answer) = self.ask(COOKIE, &pair, uri, deadline).await?;
            let unknown = !answer.status.is_success()
                && ErrorBody::parse(&answer.body).is_some_and(|e| e.variant() == "TokenNotFound");
            if !unknown || grant.token.len() > MAX_BEARER_BYTES {
                return self.open(session, uri, &exchange, &answer);
            }
            session.lose_cookie();
        }
        let bearer = Zeroizing::new(format!("Bearer {}", grant.token.as_str()));
        let (exchange, answer) = self.ask(AUTHORIZATION, &bearer, uri, deadline).await?;
        self.open(session, uri, &exchange, &answer)
    }

    async fn ask(
        &self,
        name: HeaderName,
        credential: &str,
        uri: &ResourceUri,
        deadline: Instant,
    ) -> Result<(Exchange, Answer), KbsError> {
        let mut headers = HeaderMap::new();
        headers.extend(secret_header(credential).map(|value| (name, value)));
        // Base64 makes four bytes out of three.
        let limit = self.config.max_resource_bytes / 3 * 4 + ENVELOPE_BYTES;
        let path = format!("resource/{}", uri.path());
        let exchange = Exchange {
            method: Method::GET,
            path,
            headers,
            body: Vec::new(),
            limit,
        };
        let answer = self.http.send(&exchange, deadline).await?;
        Ok((exchange, answer))
    }

    fn open(
        &self,
        session: &Session,
        uri: &ResourceUri,
        exchange: &Exchange,
        answer: &Answer,
    ) -> Result<Resource, KbsError> {
        let request = exchange.label();
        if !answer.status.is_success() {
            return Err(refusal(
                &self.http,
                &request,
                Subject::Resource(uri),
                answer,
            ));
        }
        let limit = self.config.max_resource_bytes;
        if answer.cut {
            return Err(KbsError::TooLarge {
                uri: uri.clone(),
                limit,
            });
        }
        // Other plugins answer in clear. A resource that comes so was not released to this machine.
        let jwe: Jwe = serde_json::from_slice(&answer.body).map_err(|_| KbsError::Protocol {
            request: request.clone(),
            detail: "the resource does not come as a JWE".to_owned(),
        })?;
        let opened = jwe
            .decrypt(&session.grant.key)
            .map_err(|error| KbsError::Protocol {
                request,
                detail: format!(
                    "the resource cannot be opened: {}",
                    server_words(&error.to_string())
                ),
            })?;
        if opened.plaintext.len() > limit {
            return Err(KbsError::TooLarge {
                uri: uri.clone(),
                limit,
            });
        }
        Ok(Resource {
            bytes: opened.plaintext,
            session: session.id,
        })
    }
}
