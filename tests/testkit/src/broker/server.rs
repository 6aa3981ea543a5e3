//! The broker.

use std::{
    collections::BTreeMap,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use mqtt5::broker::{
    AuthProvider, AuthResult, BrokerConfig, BrokerEventHandler, BrokerShutdownHandle,
    ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent, MqttBroker, PublishAction,
    config::{StorageBackend, StorageConfig, TlsConfig},
};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::ports::{free_address, until_free};

/// How long a test waits for something to happen before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The broker or a client of it did not do what a test needs.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The broker could not start or broke down.
    #[error("the test broker failed: {0}")]
    Broker(String),
    /// A client could not send.
    #[error("the test client could not send: {0}")]
    Client(String),
    /// What was awaited did not happen within [`PATIENCE`].
    #[error("waited in vain for {0}")]
    Timeout(String),
}

/// A publish that went through the broker.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// MQTT client id of the sender.
    pub client_id: String,
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
}

/// Something a client did to its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// It connected.
    Connected(String),
    /// It sent DISCONNECT.
    Left(String),
    /// Its connection broke.
    Lost(String),
}

/// Certificates for a listener with TLS, PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate of the broker.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// When given, clients must have a certificate of this CA.
    pub client_ca: Option<PathBuf>,
}

/// How a test broker is set up.
#[derive(Debug, Clone, Default)]
pub struct BrokerSetup {
    /// Port to listen on; 0 takes a free one, where a later broker can be started too.
    pub port: u16,
    /// Adds a listener with TLS, on a free port.
    pub tls: Option<TlsFiles>,
    /// Largest packet; a client that sends more is thrown out. The default is large.
    pub max_packet_bytes: Option<usize>,
    /// When given, who connects must show one of these user names with its password.
    pub passwords: Option<BTreeMap<String, String>>,
}

/// A running broker. Dropping it stops it.
pub struct TestBroker {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    records: Arc<Records>,
    shutdown: BrokerShutdownHandle,
    running: Option<JoinHandle<()>>,
}

impl TestBroker {
    /// Starts a broker on a free port.
    ///
    /// # Errors
    /// [`BrokerError::Broker`].
    pub async fn start() -> Result<Self, BrokerError> {
        Self::with(BrokerSetup::default()).await
    }

    /// Starts a broker that is set up in a certain way.
    ///
    /// # Errors
    /// [`BrokerError::Broker`], for instance when the port is taken.
    pub async fn with(setup: BrokerSetup) -> Result<Self, BrokerError> {
        let failed = |error: &dyn std::fmt::Display| BrokerError::Broker(error.to_string());
        let listen = match setup.port {
            0 => free_address().map_err(|error| failed(&error))?,
            port => (Ipv4Addr::LOCALHOST, port).into(),
        };
        until_free(listen).await.map_err(|error| failed(&error))?;
        let records = Arc::new(Records::default());
        let storage = StorageConfig::new()
            .with_backend(StorageBackend::Memory)
            .with_persistence(false);
        let mut config = BrokerConfig::default()
            .with_bind_addresses(vec![listen])
            .with_storage(storage)
            .with_sys_topics_enabled(false)
            .with_event_handler(Arc::clone(&records) as Arc<dyn BrokerEventHandler>);
        config.auth_config.allow_anonymous = true;
        config.auth_config.rate_limit.enabled = false;
        if let Some(size) = setup.max_packet_bytes {
            config = config.with_max_packet_size(size);
        }
        if let Some(files) = setup.tls {
            let mut tls = TlsConfig::new(files.certificate, files.key)
                .with_bind_addresses(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
            if let Some(ca) = files.client_ca {
                tls = tls.with_ca_file(ca).with_require_client_cert(true);
            }
            config = config.with_tls(tls);
        }
        let mut broker = MqttBroker::with_config(config)
            .await
            .map_err(|error| failed(&error))?;
        if let Some(passwords) = setup.passwords {
            broker = broker.with_auth_provider(Arc::new(Passwords(passwords)));
        }
        let address = broker
            .local_addr()
            .ok_or_else(|| failed(&"it has no address"))?;
        let tls_address = broker.tls_local_addr();
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let running = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                tracing::error!("test broker: {error}");
            }
        });
        timeout(PATIENCE, ready.wait_for(|ready| *ready))
            .await
            .map_err(|_| BrokerError::Timeout("the broker to be ready".to_owned()))?
            .map_err(|error| failed(&error))?;
        Ok(Self {
            address,
            tls_address,
            records,
            shutdown,
            running: Some(running),
        })
    }

    /// `mqtt://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// `mqtts://localhost:port`, when there is a listener with TLS.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        self.tls_address
            .map(|address| format!("mqtts://localhost:{}", address.port()))
    }

    /// Port of the plain listener, to start another broker in the same place.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every publish so far, in order.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        self.records
            .publishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Everything that clients did to their connections so far, in order.
    #[must_use]
    pub fn visits(&self) -> Vec<Visit> {
        self.records.visits.borrow().clone()
    }

    /// Waits until what clients did fulfils a condition.
    ///
    /// # Errors
    /// [`BrokerError::Timeout`].
    pub async fn wait_for_visits(
        &self,
        what: &str,
        fulfilled: impl FnMut(&Vec<Visit>) -> bool,
    ) -> Result<(), BrokerError> {
        let mut visits = self.records.visits.subscribe();
        match timeout(PATIENCE, visits.wait_for(fulfilled)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(BrokerError::Timeout(what.to_owned())),
        }
    }

    /// True when any payload or topic holds these bytes.
    #[must_use]
    pub fn has_seen(&self, bytes: &[u8]) -> bool {
        let within = |hay: &[u8]| {
            hay.windows(bytes.len().max(1))
                .any(|window| window == bytes)
        };
        self.recorded()
            .iter()
            .any(|record| within(&record.payload) || within(record.topic.as_bytes()))
    }

    /// Stops the broker and waits until its port is free again.
    pub async fn stop(mut self) {
        self.shutdown.shutdown();
        if let Some(running) = self.running.take() {
            let _ = timeout(PATIENCE, running).await;
        }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// User names and passwords of those who may connect, and do everything then.
struct Passwords(BTreeMap<String, String>);

impl AuthProvider for Passwords {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _: SocketAddr,
    ) -> Done<'a, mqtt5::Result<AuthResult>> {
        let shown = connect.username.as_ref().zip(connect.password.as_ref());
        let is_right = shown.is_some_and(|(name, password)| {
            let known = self.0.get(name.as_str());
            known.is_some_and(|known| known.as_bytes() == &password[..])
        });
        let result = match is_right {
            true => AuthResult::success(),
            false => AuthResult::fail(ReasonCode::BadUsernameOrPassword),
        };
        Box::pin(async { Ok(result) })
    }

    fn authorize_publish<'a>(&'a self, _: &str, _: Option<&'a str>, _: &'a str) -> Done<'a, bool> {
        Box::pin(async { true })
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        _: &'a str,
    ) -> Done<'a, bool> {
        Box::pin(async { true })
    }
}

/// What the broker's event hooks collect.
struct Records {
    publishes: Mutex<Vec<Recorded>>,
    visits: watch::Sender<Vec<Visit>>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            publishes: Mutex::default(),
            visits: watch::Sender::new(Vec::new()),
        }
    }
}

type Done<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl BrokerEventHandler for Records {
    fn on_client_connect<'a>(&'a self, event: ClientConnectEvent) -> Done<'a, ()> {
        let visit = Visit::Connected(event.client_id.to_string());
        self.visits.send_modify(|visits| visits.push(visit));
        Box::pin(async {})
    }

    fn on_client_disconnect<'a>(&'a self, event: ClientDisconnectEvent) -> Done<'a, ()> {
        let client = event.client_id.to_string();
        let visit = if event.unexpected {
            Visit::Lost(client)
        } else {
            Visit::Left(client)
        };
        self.visits.send_modify(|visits| visits.push(visit));
        Box::pin(async {})
    }

    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Done<'a, PublishAction> {
        let record = Recorded {
            client_id: event.client_id.to_string(),
            topic: event.topic.to_string(),
            payload: event.payload,
        };
        self.publishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
        Box::pin(async { PublishAction::Continue })
    }
}
