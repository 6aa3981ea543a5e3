//! Why there is no connection.

use std::path::PathBuf;

use thiserror::Error;

/// Why there is no connection to the broker.
#[derive(Debug, Error)]
pub enum MqttError {
    /// A file with certificates or a key cannot be used.
    #[error(
        "TLS to the MQTT broker: {path} cannot be used: {why}; correct the file or [mqtt] {setting} ({variable})"
    )]
    File {
        /// The name under `[mqtt]`.
        setting: &'static str,
        /// The variable that may have named it instead.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This machine has nothing to verify the broker with.
    #[error("TLS to the MQTT broker: {0}")]
    Tls(String),
    /// A resource of the key broker is no key for TLS.
    #[error("the key for TLS to the MQTT broker {0}")]
    ClientKey(&'static str),
    /// The client cannot be made of these settings.
    #[error("MQTT client: {0}; correct [mqtt] in the settings document")]
    Client(String),
}
