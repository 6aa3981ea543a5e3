//! Settings of a broker that is to be started.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proplet_hal::reference_values::ReferenceValues;
use proplet_hal::verify::TrustPolicy;
use proplet_types::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::admin::AdminAccess;
use super::broker::DevKeyBroker;
use super::dispatch;
use super::exchange::{Asked, Reply};
use super::policy::Policy;
use super::state::{Rules, State};
use crate::ports::until_free;

/// Settings of a [`DevKeyBroker`] that is to be started.
pub struct DevKeyBrokerBuilder {
    listen: SocketAddr,
    trust: TrustPolicy,
    rules: Rules,
    policy: Policy,
}

impl DevKeyBroker {
    /// The default settings.
    pub fn builder() -> DevKeyBrokerBuilder {
        DevKeyBrokerBuilder::default()
    }

    /// Starts a broker with the default settings: SNP and TDX evidence under the test PKI, released to
    /// whoever has such evidence.
    ///
    /// # Errors
    /// As [`DevKeyBrokerBuilder::start`].
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }
}

impl Default for DevKeyBrokerBuilder {
    fn default() -> Self {
        DevKeyBrokerBuilder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            trust: crate::tee::test_trust(),
            rules: Rules {
                admin: AdminAccess::Everybody,
                reference_measurements: Vec::new(),
                reference_values: None,
                token_lifetime: Duration::from_secs(300),
                session_lifetime: Duration::from_secs(300),
                clock: Arc::new(SystemClock),
                rewrite: None,
                remember: false,
            },
            policy: Policy::Default,
        }
    }
}

impl DevKeyBrokerBuilder {
    /// Where to listen. A free loopback port unless set.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Which evidence is accepted. SNP and TDX under the test PKI unless set.
    pub fn trust(mut self, trust: TrustPolicy) -> Self {
        self.trust = trust;
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

    /// Accepts evidence by these reference values, under the test PKI with its collateral: what they demand, and
    /// no TEE that they have no table for. A VM whose registers they list is `affirming`.
    pub fn reference_values(mut self, values: &ReferenceValues) -> Self {
        self.trust = values.trust_policy(crate::tee::test_roots(), crate::tee::test_tdx_trust());
        self.rules.reference_values = Some(values.clone());
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
        until_free(self.listen).await?;
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
