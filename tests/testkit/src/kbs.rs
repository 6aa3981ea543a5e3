//! A development key broker that speaks protocol 0.4.0 and verifies evidence.
//!
//! [`DevKeyBroker`] answers as Trustee's KBS with its built-in attestation service and resource
//! storage in memory: the same endpoints, statuses, error types and wording, the same token and JWE
//! forms. It verifies evidence with the same verifier as `proplet verify`, by default under the test
//! PKI of [`crate::tee`], and recomputes the report data itself. It serves plain http on a loopback
//! port.
//!
//! It is no key broker to keep secrets in: no TLS, no storage, no Rego (policies are Rust), signing
//! keys that nobody certifies. Administrators are held to what a real one holds them to
//! ([`AdminAccess`]); what they register as a launch measurement's reference value counts. What it adds for tests: counters ([`DevKeyBroker::counts`]), faults
//! ([`DevKeyBroker::inject`]), answers that a test rewrites or a recording gives
//! ([`DevKeyBrokerBuilder::rewrite`], [`DevKeyBroker::replay`]), a clock that tests set
//! ([`TestClock`]), and the loss of sessions and signing keys on demand.

mod admin;
mod attest;
mod builder;
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
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proplet_kbs::KbsConfig;
use proplet_types::ResourceUri;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

pub use admin::{AdminAccess, Administrator};
pub use builder::DevKeyBrokerBuilder;
pub use clock::TestClock;
pub use exchange::{Asked, Reply};
pub use fault::{Endpoint, Fault};
pub use policy::{Policy, ResourceRequest};
pub use recording::Recorded;
pub use state::Counts;

use state::State;

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

    /// The text of an attestation policy that an administrator set. It is kept and not evaluated.
    pub fn attestation_policy(&self, id: &str) -> Option<String> {
        self.state.attestation_policy(id)
    }

    /// A reference value that an administrator registered.
    pub fn reference_value(&self, name: &str) -> Option<Value> {
        self.state.reference_value(name)
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
