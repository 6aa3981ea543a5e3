//! The sending half of a connection.

use std::time::Duration;

use proplet_executor::Executor;
use proplet_settings::{ApiKey, BrokerIdentity, Mqtt};
use proplet_types::Code;
use rumqttc::{AckMode, AsyncClient, MqttOptions, QoS, Transport};
use tokio::sync::watch;

use super::{
    credentials::Credentials,
    driver::{Connection, Driver},
    error::MqttError,
    tls,
    trouble::Parties,
};

/// The sending half of a connection. Clones share it.
#[derive(Clone)]
pub struct Link {
    pub(super) client: AsyncClient,
    pub(super) connection: watch::Receiver<Connection>,
    pub(super) qos: QoS,
    trouble: watch::Receiver<Option<Code>>,
}

impl Link {
    /// Makes a client and the driver that does its work. Nothing is sent before the driver runs. What the broker is
    /// shown and is a resource of the key broker, the driver fetches through the executor.
    ///
    /// # Errors
    /// [`MqttError`].
    pub fn new(
        settings: &Mqtt,
        identity: &BrokerIdentity,
        executor: &Executor,
    ) -> Result<(Self, Driver), MqttError> {
        let address = (settings.address.host(), settings.address.port());
        let mut options = MqttOptions::new(identity.entity.clone(), address);
        let keep_alive = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
        options
            .set_keep_alive(keep_alive)
            .set_clean_session(true)
            .set_ack_mode(AckMode::Manual)
            .set_max_packet_size(settings.max_packet_bytes, settings.max_packet_bytes)
            .set_inflight(settings.inflight)
            .set_request_channel_capacity(settings.request_queue);
        if let ApiKey::Given(key) = &identity.api_key {
            let key = key.expose().to_owned().into_bytes();
            options.set_credentials(identity.entity.clone(), key);
        }
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
        let (troubled, trouble) = watch::channel(None);
        let link = Self {
            client,
            connection,
            qos: quality(settings.qos),
            trouble,
        };
        let parties = Parties {
            broker: settings.address.clone(),
            entity: identity.entity.clone(),
        };
        let credentials = Credentials::new(settings, identity, executor);
        let driver = Driver::new(events, sender, parties, credentials, troubled);
        Ok((link, driver))
    }

    /// Why there is nothing that the broker could be shown: the code of what the key broker said.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Code>> {
        self.trouble.clone()
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

#[cfg(test)]
impl Link {
    /// One whose driver does not run.
    pub(super) fn unconnected() -> Self {
        let options = MqttOptions::new("proplet", ("localhost", 1883));
        let (client, _) = AsyncClient::builder(options).capacity(1).build();
        Self {
            client,
            connection: watch::channel(None).1,
            qos: QoS::AtLeastOnce,
            trouble: watch::channel(None).1,
        }
    }
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
