//! Why there is no connection.

use thiserror::Error;

/// Why there is no connection to the broker.
#[derive(Debug, Error)]
pub enum MqttError {
    /// Certificates or keys cannot be used.
    #[error("TLS to the MQTT broker: {0}")]
    Tls(String),
    /// A resource of the key broker is no key for TLS.
    #[error("the key for TLS to the MQTT broker {0}")]
    ClientKey(&'static str),
    /// The client cannot be made of these settings.
    #[error("MQTT client: {0}; correct [mqtt] in the settings document")]
    Client(String),
}
