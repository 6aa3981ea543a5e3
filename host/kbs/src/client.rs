//! The client.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::TeeProvider;
use proplet_jose::jwe::Jwe;
use proplet_jose::jwk::PrivateKey;
use proplet_types::{ResourceUri, text::server_words};
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName};
use reqwest::{Method, StatusCode};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::handshake::Handshake;
use crate::http::{Answer, Exchange, Http, secret_header};
use crate::passport::Passport;
use crate::pool::Pool;
use crate::protocol::{ErrorBody, Requester, SESSION_COOKIE, SentInitData};
use crate::refusal::{Subject, refusal};
use crate::session::{Grant, LiveSession, Session};
use crate::token::{MAX_BEARER_BYTES, appraisal};
use crate::{ComponentBound, Failure, KbsConfig, KbsError, SessionId};

/// Room in an answer for what surrounds the ciphertext of a resource.
const ENVELOPE_BYTES: usize = 16 * 1024;

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

/// A client of one KBS on behalf of one TEE. Clones are cheap and share the sessions.
///
/// Every call attests first if there is no live session; none asks without one. The token and the
/// session's key stay inside.
#[derive(Clone)]
pub struct KbsClient {
    inner: Arc<Inner>,
}

/// Makes the key of a session.
type KeySource = dyn Fn() -> Result<PrivateKey, proplet_jose::Error> + Send + Sync;

/// Makes the nonce of runtime data for an attestation service, which hands none out.
type NonceSource = dyn Fn() -> Result<String, Unspecified> + Send + Sync;

struct Inner {
    config: KbsConfig,
    http: Arc<Http>,
    provider: Arc<dyn TeeProvider>,
    new_key: Box<KeySource>,
    new_nonce: Box<NonceSource>,
    sessions: Pool,
    /// How the KBS is told which component asks.
    bound: Option<Bound>,
}

/// [`ComponentBound`], ready to be used.
enum Bound {
    Passport(Arc<Http>),
    AdditionalEvidence,
}

impl KbsClient {
    /// A client of the KBS that `config` names, with evidence from `provider`. Sends nothing yet.
    ///
    /// # Errors
    /// [`KbsError::Config`] for an address or CA that cannot work.
    pub fn new(config: KbsConfig, provider: Arc<dyn TeeProvider>) -> Result<Self, KbsError> {
        let new_key = Box::new(PrivateKey::generate_p256);
        Self::with_sources(config, provider, new_key, Box::new(random_nonce))
    }

    /// As [`KbsClient::with_sources`], with nonces of the machine.
    #[cfg(test)]
    pub(crate) fn with_keys(
        config: KbsConfig,
        provider: Arc<dyn TeeProvider>,
        new_key: Box<KeySource>,
    ) -> Result<Self, KbsError> {
        Self::with_sources(config, provider, new_key, Box::new(random_nonce))
    }

    /// Key and nonce are arguments so that recorded answers, which are sealed to a known key, can be
    /// replayed. Not public: a key that outlives its session, or that anybody else knows, is none.
    pub(crate) fn with_sources(
        config: KbsConfig,
        provider: Arc<dyn TeeProvider>,
        new_key: Box<KeySource>,
        new_nonce: Box<NonceSource>,
    ) -> Result<Self, KbsError> {
        let http = Arc::new(Http::new(&config)?);
        let bound = match &config.component_bound {
            None => None,
            Some(ComponentBound::AdditionalEvidence) => Some(Bound::AdditionalEvidence),
            Some(ComponentBound::Passport(service)) => Some(Bound::Passport(Arc::new(
                Http::to_service(&service.url, service.ca_pem.as_deref(), &config)?,
            ))),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                http,
                provider,
                new_key,
                new_nonce,
                sessions: Pool::default(),
                bound,
            }),
        })
    }

    /// Gets a resource, in a session in which no component is named. Attests anew at most once, when the KBS no
    /// longer accepts the session.
    ///
    /// # Errors
    /// [`KbsError`]: `Denied` and `NotFound` are the KBS's last word, `Unavailable` may pass,
    /// everything else needs a person.
    pub async fn resource(&self, uri: &ResourceUri) -> Result<Resource, KbsError> {
        self.resource_of(uri, None, None).await
    }

    /// Gets a resource on behalf of a component, with a session in which the KBS is told which component it
    /// is. Where [`KbsConfig::component_bound`] is not set, this is [`KbsClient::resource`].
    ///
    /// If that costs an attestation, it counts against `owner`: the repository whose the component is known to be, by
    /// more than what it asks for. None where nobody knows.
    ///
    /// # Errors
    /// As [`KbsClient::resource`], and `Limited`.
    pub async fn resource_for(
        &self,
        uri: &ResourceUri,
        requester: &Requester,
        owner: Option<&str>,
    ) -> Result<Resource, KbsError> {
        self.resource_of(uri, self.told(requester), owner).await
    }

    async fn resource_of(
        &self,
        uri: &ResourceUri,
        requester: Option<&Requester>,
        owner: Option<&str>,
    ) -> Result<Resource, KbsError> {
        let inner = &self.inner;
        inner.http.base().check_host(uri)?;
        let deadline = inner.deadline();
        let attest = || {
            let server = inner.handshake_server();
            let attested = inner.attested(requester, owner);
            inner.in_time_with(server, deadline, attested)
        };
        let mut session = attest().await?;
        match inner
            .in_time(deadline, inner.fetch(&session, uri, deadline))
            .await
        {
            Err(KbsError::TokenRefused { detail }) => {
                tracing::warn!(session = %session.id, detail, "the KBS ended the session early");
            }
            result => return inner.counted(result, uri, requester),
        }
        inner.sessions.of(requester).forget(session.id);
        session = attest().await?;
        let result = inner
            .in_time(deadline, inner.fetch(&session, uri, deadline))
            .await;
        inner.counted(result, uri, requester)
    }

    /// The live session, after attesting if there is none or if it is about to end.
    #[cfg(test)]
    pub(crate) async fn session(&self) -> Result<SessionId, KbsError> {
        let deadline = self.inner.deadline();
        let session = self
            .inner
            .in_time(deadline, self.inner.attested(None, None))
            .await?;
        Ok(session.id)
    }

    /// Whose a component's session is.
    #[cfg(test)]
    pub(crate) fn owner_of(&self, requester: &Requester) -> Option<String> {
        self.inner.sessions.owner(requester)
    }

    /// The live session, without any I/O. `None` before the first attestation, after the session's
    /// end, and once the KBS has refused it.
    pub fn live_session(&self) -> Option<SessionId> {
        self.inner.sessions.live(None).map(|session| session.id)
    }

    /// The live session of a component, as [`KbsClient::live_session`]: that of
    /// [`KbsClient::resource_for`].
    pub fn live_session_for(&self, requester: &Requester) -> Option<SessionId> {
        let live = self.inner.sessions.live(self.told(requester));
        live.map(|session| session.id)
    }

    /// The same with its times.
    pub fn live_session_times(&self, requester: &Requester) -> Option<LiveSession> {
        let live = self.inner.sessions.live(self.told(requester));
        live.map(|session| session.as_live())
    }

    /// Whether the KBS is told which component asks.
    pub fn is_component_bound(&self) -> bool {
        self.inner.bound.is_some()
    }

    /// Whether nothing but the component tells its session from the VM's own, `own`: then a resource that the KBS
    /// releases in the one and denied in the other is granted to the component.
    ///
    /// A KBS decides by its token. The hypervisor has a hand in what is in one: for the VM's own session it can have
    /// the report name another TCB, so that even a policy which looks at no component denies. So both tokens must
    /// say the same of the VM. And over plain http the network can deny in the KBS's name; with a fake TEE, which
    /// protects nothing, that is not minded.
    pub fn is_told_apart_by_component(&self, requester: &Requester, own: SessionId) -> bool {
        let inner = &self.inner;
        if inner.http.base().scheme() != "https" && inner.provider.is_hardware() {
            return false;
        }
        let sessions = &inner.sessions;
        let live = (sessions.live(None), sessions.live(self.told(requester)));
        let (Some(of_vm), Some(of_component)) = live else {
            return false;
        };
        let said = |session: &Session| appraisal(&session.grant.token);
        of_vm.id == own
            && said(&of_vm).is_some_and(|said_of_vm| Some(said_of_vm) == said(&of_component))
    }

    /// The requester, where the KBS is told.
    fn told<'a>(&self, requester: &'a Requester) -> Option<&'a Requester> {
        self.is_component_bound().then_some(requester)
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
    /// Has what was released counted as the repository's.
    fn counted(
        &self,
        result: Result<Resource, KbsError>,
        uri: &ResourceUri,
        requester: Option<&Requester>,
    ) -> Result<Resource, KbsError> {
        if result.is_ok() {
            self.sessions.released(requester, uri.repository());
        }
        result
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    async fn in_time<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, KbsError>>,
    ) -> Result<T, KbsError> {
        self.in_time_with(&self.http, deadline, work).await
    }

    /// The same for work that waits for this server.
    async fn in_time_with<T>(
        &self,
        server: &Http,
        deadline: Instant,
        work: impl Future<Output = Result<T, KbsError>>,
    ) -> Result<T, KbsError> {
        timeout_at(deadline, work).await.unwrap_or_else(|_| {
            let detail = format!("gave up after {:?}", self.config.timeout);
            Err(server.unavailable(Failure::Timeout, detail))
        })
    }

    /// Who is waited for in a handshake.
    fn handshake_server(&self) -> &Http {
        match &self.bound {
            Some(Bound::Passport(service)) => service,
            _ => &self.http,
        }
    }

    async fn attested(
        self: &Arc<Self>,
        requester: Option<&Requester>,
        owner: Option<&str>,
    ) -> Result<Arc<Session>, KbsError> {
        self.sessions
            .of(requester)
            .acquire(|| {
                let (inner, requester) = (self.clone(), requester.cloned());
                // Its own deadline, not the caller's: others who join it may have more time left.
                let deadline = inner.deadline();
                let permitted = inner.sessions.permit(requester.as_ref(), owner);
                async move {
                    permitted?;
                    let handshake = inner.handshake(requester.clone(), deadline);
                    let server = inner.handshake_server();
                    let attested = inner.in_time_with(server, deadline, handshake).await;
                    if let Some(witness) = &inner.config.witness {
                        let outcome = attested.as_ref().map(drop).map_err(KbsError::code);
                        witness.attested(requester.as_ref(), outcome);
                    }
                    attested
                }
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

    async fn handshake(
        &self,
        requester: Option<Requester>,
        deadline: Instant,
    ) -> Result<Grant, KbsError> {
        let key = (self.new_key)().map_err(|error| KbsError::Evidence(error.to_string()))?;
        let init_data = self.bound_init_data().await?;
        let provider = self.provider.clone();
        if let Some(Bound::Passport(service)) = &self.bound {
            let nonce = (self.new_nonce)()
                .map_err(|_| KbsError::Evidence("there are no random bytes".to_owned()))?;
            let passport = Passport {
                http: service.clone(),
                provider,
                init_data,
                requester,
                nonce,
                key,
                deadline,
            };
            return passport.run().await;
        }
        Handshake {
            http: self.http.clone(),
            provider,
            init_data,
            requester,
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
        if let Some(cookie) = session.cookie() {
            let pair = Zeroizing::new(format!("{SESSION_COOKIE}={cookie}"));
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
        let request = self.http.label(exchange);
        if answer.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
            return Err(KbsError::TokenTooLarge {
                bytes: session.grant.token.len(),
            });
        }
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

/// 32 random bytes, as a KBS makes its nonces.
fn random_nonce() -> Result<String, Unspecified> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}
