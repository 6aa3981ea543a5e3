//! An OCI registry in this process.
//!
//! Speaks the distribution API over plain http or TLS on a loopback port of the system's choice: enough for
//! real clients to push (whole and in chunks) and pull. It can ask for credentials, and it can be told
//! to misbehave ([`Fault`]), which is what most tests of a puller are about. Nothing is kept on disk.

mod access;
mod counters;
mod fault;
mod quirk;
mod server;
mod state;
mod store;
pub(crate) mod tls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::serve::Listener;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use access::Access;
pub use counters::Counts;
pub use fault::{Fault, Target};
pub use quirk::Quirk;

use state::State;
use tls::TlsListener;

/// A running registry. Stops when dropped.
pub struct Registry {
    address: SocketAddr,
    ca_pem: Option<String>,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Registry {
    /// Starts a registry that serves everybody.
    ///
    /// # Errors
    /// When no loopback port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Access::Anonymous).await
    }

    /// Starts a registry that asks for credentials as `access` says.
    ///
    /// # Errors
    /// When no loopback port can be had.
    pub async fn start_with(access: Access) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::serve(listener, None, access)
    }

    /// Starts a registry that serves everybody over TLS, with a certificate for `127.0.0.1` under an
    /// authority of its own ([`ca_pem`](Self::ca_pem)).
    ///
    /// # Errors
    /// When no loopback port can be had, or no certificate made.
    pub async fn start_tls() -> io::Result<Self> {
        Self::start_tls_with(Access::Anonymous).await
    }

    /// As [`start_tls`](Self::start_tls), asking for credentials as `access` says.
    ///
    /// # Errors
    /// As [`start_tls`](Self::start_tls).
    pub async fn start_tls_with(access: Access) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (listener, ca_pem) = TlsListener::new(listener)?;
        Self::serve(listener, Some(ca_pem), access)
    }

    fn serve<L>(listener: L, ca_pem: Option<String>, access: Access) -> io::Result<Self>
    where
        L: Listener<Addr = SocketAddr>,
    {
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(access, address));
        let (stop, mut stopped) = watch::channel(false);
        let router = server::router(Arc::clone(&state));
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router).into_future();
            // Open connections are cut: a test that ends has no use for them.
            tokio::select! {
                _ = serving => {}
                _ = stopped.changed() => {}
            }
        });
        Ok(Self {
            address,
            ca_pem,
            state,
            stop,
            task,
        })
    }

    /// PEM of the authority that signed the registry's certificate; none over plain http.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Host and port, as image references and lists of plain-http hosts name it.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Puts a blob there without a push, and gives its digest.
    pub fn insert_blob(&self, bytes: impl Into<Bytes>) -> String {
        self.state.store().insert_blob(bytes.into())
    }

    /// Puts a manifest there without a push, under its digest and under `tag`, and gives its digest.
    /// Unlike a push it may name blobs that are not there.
    pub fn insert_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> String {
        self.state
            .store()
            .insert_manifest(repository, tag, media_type, bytes.into())
    }

    /// The bytes of a manifest, by tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Bytes> {
        self.state
            .store()
            .manifest(repository, reference)
            .map(|manifest| manifest.bytes)
    }

    /// The bytes of a blob.
    pub fn blob(&self, digest: &str) -> Option<Bytes> {
        self.state.store().blob(digest)
    }

    /// Misbehaves from now on. Several faults may be there; the first whose target fits is used.
    pub fn inject(&self, target: Target, fault: Fault) {
        self.inject_times(usize::MAX, target, fault);
    }

    /// Misbehaves for the next `times` answers that the target fits.
    pub fn inject_times(&self, times: usize, target: Target, fault: Fault) {
        self.state.faults().push((target, fault, times));
    }

    /// Asks those who are not admitted with this `WWW-Authenticate` header from now on.
    pub fn challenge_with(&self, header: impl Into<String>) {
        *self.state.challenge() = Some(header.into());
    }

    /// The query strings with which the token service was asked, in order.
    pub fn token_queries(&self) -> Vec<String> {
        self.state.token_queries().clone()
    }

    /// Has this quirk from now on, besides those that it has.
    pub fn behave(&self, quirk: Quirk) {
        self.state.quirks().add(quirk);
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.state.quirks().clear();
        self.state.faults().clear();
    }

    /// Waits for the next request, whatever it asks for.
    pub fn next_request(&self) -> impl Future<Output = ()> + use<> {
        let mut requests = self.state.requests.subscribe();
        async move {
            // It fails when the registry is gone, and then nobody can ask it either.
            let _ = requests.changed().await;
        }
    }

    /// What it was asked for so far.
    pub fn counts(&self) -> Counts {
        let counters = self.state.counters();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            manifests_read: of(&counters.manifests_read),
            manifests_written: of(&counters.manifests_written),
            blobs_read: of(&counters.blobs_read),
            parts_read: of(&counters.parts_read),
            blobs_written: of(&counters.blobs_written),
            tokens: of(&counters.tokens),
            refused: of(&counters.refused),
            busy: of(&counters.busy),
        }
    }

    /// Stops and waits until the port is free again.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}
