//! The running broker.

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

use super::exchange::Asked;
use super::fault::{Endpoint, Fault};
use super::policy::Policy;
use super::state::{Counts, State};

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
    pub(super) address: SocketAddr,
    pub(super) state: Arc<State>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) task: Option<JoinHandle<()>>,
}

impl DevKeyBroker {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address before `/kbs/v0`, and before the attestation service's `/attestation`, with scheme and port.
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
