//! The connection to the broker.
//!
//! The client library is `rumqttc-v4-next` 0.34. Its better known parent, rumqttc 0.25.1, is pinned to
//! rustls-webpki 0.102, which has open advisories (RUSTSEC-2026-0049, -0098, -0099, -0104) and no fix;
//! the fork uses 0.103, works with ring alone, and reports when the broker acknowledged a publish, which
//! the [outbox] needs.
//!
//! The protocol is MQTT 3.1.1 with a clean session, as the Manager expects of a proplet: what the broker
//! would keep for a client that is away are starts of tasks that the Manager has given up by then. There
//! is **no last will**: the Manager reads every message on the alive topic as a sign of life, so an
//! "offline" there would prolong ours.
//!
//! Three parts share a connection and none waits for another: [`Driver`] polls the event loop and passes
//! commands on; [`presence`] subscribes, announces and beats; [`delivery`] empties the [`outbox`].

mod backoff;
pub mod delivery;
mod driver;
pub mod outbox;
pub mod presence;
pub mod store;
mod tls;
mod trouble;

use std::time::Duration;

use proplet_settings::{BrokerIdentity, Mqtt};
use rumqttc::{AsyncClient, MqttOptions, QoS, Transport};
use thiserror::Error;
use tokio::sync::watch;

pub use self::driver::{Driver, Received};
use self::trouble::Parties;

/// Why there is no connection to the broker.
#[derive(Debug, Error)]
pub enum MqttError {
    /// Certificates or keys cannot be used.
    #[error("TLS to the MQTT broker: {0}")]
    Tls(String),
    /// The client cannot be made of these settings.
    #[error("MQTT client: {0}; correct [mqtt] in the settings document")]
    Client(String),
}

/// Whether there is a connection, and its number, counted from the start of the process. Every
/// connection is a new session for the broker, so what belongs to a session is done anew when the number
/// changes.
pub type Connection = Option<u64>;

/// The sending half of a connection. Clones share it.
#[derive(Clone)]
pub struct Link {
    client: AsyncClient,
    connection: watch::Receiver<Connection>,
    qos: QoS,
}

impl Link {
    /// Makes a client and the driver that does its work. Nothing is sent before the driver runs.
    ///
    /// # Errors
    /// [`MqttError`].
    pub fn new(settings: &Mqtt, identity: &BrokerIdentity) -> Result<(Self, Driver), MqttError> {
        let address = (settings.address.host(), settings.address.port());
        let mut options = MqttOptions::new(identity.entity.clone(), address);
        let keep_alive = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
        options
            .set_keep_alive(keep_alive)
            .set_clean_session(true)
            .set_max_packet_size(settings.max_packet_bytes, settings.max_packet_bytes)
            .set_inflight(settings.inflight)
            .set_request_channel_capacity(settings.request_queue)
            .set_credentials(
                identity.entity.clone(),
                identity.api_key.expose().to_owned().into_bytes(),
            );
        if settings.address.tls() {
            options.set_transport(Transport::tls_with_config(tls::configuration(settings)?));
        }
        let (client, mut events) = AsyncClient::builder(options)
            .capacity(settings.request_queue)
            .try_build()
            .map_err(|error| MqttError::Client(error.to_string()))?;
        // Without it every acknowledgement waits 40 ms for the next packet of the other side.
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(10);
        events.set_network_options(network);

        let (sender, connection) = watch::channel(None);
        let link = Self {
            client,
            connection,
            qos: quality(settings.qos),
        };
        let parties = Parties {
            broker: settings.address.clone(),
            entity: identity.entity.clone(),
        };
        Ok((link, Driver::new(events, sender, parties)))
    }

    /// Sends DISCONNECT once everything under way is acknowledged, or a few seconds have passed; the
    /// driver ends with it. False when there is no connection, and so nobody to take leave of.
    pub async fn disconnect(&self) -> bool {
        let connected = self.connection.borrow().is_some();
        connected
            && self
                .client
                .disconnect_with_timeout(Duration::from_secs(3))
                .await
                .is_ok()
    }

    /// Whether there is a connection now, and changes of that.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.clone()
    }
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
