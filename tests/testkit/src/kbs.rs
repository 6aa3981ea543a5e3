//! A development key broker that speaks protocol 0.4.0 and verifies evidence.
//!
//! [`DevKeyBroker`] answers as Trustee's KBS with its built-in attestation service and resource
//! storage in memory: the same endpoints, statuses, error types and wording, the same token and JWE
//! forms. It verifies evidence with the same verifier as `proplet verify`, by default under the test
//! PKI of [`crate::tee`], and recomputes the report data itself. It serves plain http on a loopback
//! port.
//!
//! It is no key broker to keep secrets in: no TLS, no storage, no Rego (policies are Rust), signing
//! keys that nobody certifies. What it adds for tests: counters ([`DevKeyBroker::counts`]), faults
//! ([`DevKeyBroker::inject`]), answers that a test rewrites or a recording gives
//! ([`DevKeyBrokerBuilder::rewrite`], [`DevKeyBroker::replay`]), a clock that tests set
//! ([`TestClock`]), and the loss of sessions and signing keys on demand.

mod attest;
mod clock;
mod dispatch;
mod exchange;
mod fault;
mod policy;
mod recording;
mod refusal;
mod state;
mod token;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proplet_hal::reference_values::ReferenceValues;
use proplet_hal::verify::TrustPolicy;
use proplet_jose::jws::VerifyingKey;
use proplet_kbs::KbsConfig;
use proplet_types::{Clock, ResourceUri, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

pub use clock::TestClock;
pub use exchange::{Asked, Reply};
pub use fault::{Endpoint, Fault};
pub use policy::{Policy, ResourceRequest};
pub use recording::Recorded;
pub use state::Counts;

use state::{Rules, State};

/// Who may administer the broker.
#[derive(Debug, Clone)]
pub enum AdminAccess {
    /// Everybody, as Trustee's default `InsecureAllowAll`.
    Everybody,
    /// Nobody.
    Nobody,
    /// Whoever has a token signed by this key, with a number `exp` in the future and this `role`.
    Key {
        /// The administrator's public key.
        key: VerifyingKey,
        /// What the claim `role` must be.
        role: String,
    },
}

/// Settings of a [`DevKeyBroker`] that is to be started.
pub struct DevKeyBrokerBuilder {
    listen: SocketAddr,
    trust: TrustPolicy,
    rules: Rules,
    policy: Policy,
}

impl DevKeyBrokerBuilder {
    /// Where to listen. A free loopback port unless set.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Which evidence is accepted. SNP under the test PKI unless set.
    pub fn trust(mut self, trust: TrustPolicy) -> Self {
        self.trust = trust;
        self
    }

    /// Accepts evidence by these reference values, under the test PKI: their demands, and their measurements as
    /// [`Self::reference_measurement`]s.
    pub fn reference_values(mut self, values: &ReferenceValues) -> Self {
        self.trust = values.trust_policy(crate::tee::test_roots());
        self.rules
            .reference_measurements
            .extend(values.measurements().unwrap_or_default());
        self
    }

    /// Accepts sample evidence too, which anybody can write. What is released to it is the policy's
    /// choice; the default policy releases nothing.
    pub fn accept_sample(mut self) -> Self {
        self.trust = self.trust.accepting_sample_evidence_that_proves_nothing();
        self
    }

    /// What is released to whom. [`Policy::Default`] unless set.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Who may administer. [`AdminAccess::Everybody`] unless set.
    pub fn admin(mut self, admin: AdminAccess) -> Self {
        self.rules.admin = admin;
        self
    }

    /// Adds a launch measurement that is a reference value: its `ear.status` is `affirming`, that of
    /// all others `contraindicated`. The default policy does not look at it, as Trustee's does not.
    pub fn reference_measurement(mut self, measurement: &[u8]) -> Self {
        self.rules.reference_measurements.push(measurement.to_vec());
        self
    }

    /// How long tokens last, in whole seconds. 5 minutes unless set.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.token_lifetime = lifetime;
        self
    }

    /// How long sessions last, in whole seconds. 5 minutes unless set.
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.session_lifetime = lifetime;
        self
    }

    /// The clock for lifetimes, `Date` headers and certificates. The machine's unless set.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.rules.clock = clock;
        self
    }

    /// Keeps every request, for [`DevKeyBroker::requests`].
    pub fn remember_requests(mut self) -> Self {
        self.rules.remember = true;
        self
    }

    /// Sends what this function makes of a request and of the answer that the broker has for it. The
    /// broker has then done what it was asked, whatever is sent.
    pub fn rewrite(
        mut self,
        rewrite: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.rules.rewrite = Some(Arc::new(rewrite));
        self
    }

    /// Starts the broker.
    ///
    /// # Errors
    /// When the port cannot be had, or there are no random bytes for the signing key.
    pub async fn start(self) -> io::Result<DevKeyBroker> {
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let state = Arc::new(State::new(self.trust, self.rules, self.policy)?);
        let router = dispatch::router(state.clone(), stopped.clone());
        let task = tokio::spawn(async move {
            let mut closing = stopped.clone();
            let shutdown = async move {
                let _ = closing.wait_for(|stop| *stop).await;
            };
            let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown);
            if let Err(error) = serving.await {
                tracing::warn!(%error, "the development key broker stopped");
            }
        });
        Ok(DevKeyBroker {
            address,
            state,
            stop,
            task: Some(task),
        })
    }
}

/// A running development key broker. It stops when dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use proplet_kbs::KbsClient;
/// use proplet_testkit::kbs::DevKeyBroker;
/// use proplet_testkit::tee::FakeSnp;
///
/// let broker = DevKeyBroker::start().await?;
/// let uri = "kbs:///default/key/module".parse()?;
/// broker.set_resource(&uri, b"32 bytes of key, or anything else");
///
/// let client = KbsClient::new(broker.config(), Arc::new(FakeSnp::new()))?;
/// let resource = client.resource(&uri).await?;
/// assert_eq!(resource.bytes.as_slice(), b"32 bytes of key, or anything else");
/// assert_eq!(broker.counts().attest, 1);
/// # Ok(())
/// # }
/// ```
pub struct DevKeyBroker {
    address: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl DevKeyBroker {
    /// The default settings.
    pub fn builder() -> DevKeyBrokerBuilder {
        DevKeyBrokerBuilder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            trust: TrustPolicy::with_snp_roots(crate::tee::test_roots()),
            rules: Rules {
                admin: AdminAccess::Everybody,
                reference_measurements: Vec::new(),
                token_lifetime: Duration::from_secs(300),
                session_lifetime: Duration::from_secs(300),
                clock: Arc::new(SystemClock),
                rewrite: None,
                remember: false,
            },
            policy: Policy::Default,
        }
    }

    /// Starts a broker with the default settings: SNP evidence under the test PKI, released to
    /// whoever has such evidence.
    ///
    /// # Errors
    /// As [`DevKeyBrokerBuilder::start`].
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address before `/kbs/v0`, with scheme and port.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Client settings for it: plain http allowed, and short waits between tries.
    #[allow(
        clippy::expect_used,
        reason = "a socket address is always a URL's authority"
    )]
    pub fn config(&self) -> KbsConfig {
        let mut config = KbsConfig::new(Url::parse(&self.url()).expect("http://address:port"));
        config.allow_http = true;
        config.retry_delay = Duration::from_millis(5);
        config.timeout = Duration::from_secs(20);
        config
    }

    /// Stores a resource, as an administrator would.
    pub fn set_resource(&self, uri: &ResourceUri, bytes: &[u8]) {
        self.state.set_resource(uri.path(), bytes.to_vec());
    }

    /// Deletes a resource. False when there was none.
    pub fn delete_resource(&self, uri: &ResourceUri) -> bool {
        self.state.delete_resource(uri.path())
    }

    /// What is stored under an address.
    pub fn resource(&self, uri: &ResourceUri) -> Option<Vec<u8>> {
        self.state.resource(uri.path())
    }

    /// Decides anew what is released to whom.
    pub fn set_policy(&self, policy: Policy) {
        self.state.set_policy(policy);
    }

    /// Forgets all sessions, as a restart with sessions in memory does. Tokens stay good.
    pub fn forget_sessions(&self) {
        self.state.forget_sessions();
    }

    /// Takes a new signing key, so that every token so far is refused.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn replace_signing_key(&self) -> io::Result<()> {
        self.state.replace_signing_key()
    }

    /// How often it was asked for what so far.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// The requests so far, in order, of a broker that remembers them. Credentials and secrets are in
    /// them.
    pub fn requests(&self) -> Vec<Asked> {
        self.state.requests()
    }

    /// Misbehaves from now on, until [`DevKeyBroker::heal`].
    pub fn inject(&self, endpoint: Endpoint, fault: Fault) {
        self.state.inject(endpoint, fault, None);
    }

    /// Misbehaves at the next `times` requests to an endpoint.
    pub fn inject_times(&self, endpoint: Endpoint, fault: Fault, times: u32) {
        self.state.inject(endpoint, fault, Some(times));
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.state.heal();
    }

    /// Stops: ends requests that hang, closes connections and waits until all of that is done.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for DevKeyBroker {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

#[cfg(test)]
mod tests;
