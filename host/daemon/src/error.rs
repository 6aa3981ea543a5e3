//! Why the daemon does not start.

use std::net::SocketAddr;

use proplet_executor::{CredentialError, ExecutorError, harden::HardenError};
use proplet_outbox::OpenError;
use proplet_plugin::PluginError;
use proplet_settings::SettingsError;
use thiserror::Error;

use crate::{interfaces::InterfaceError, mqtt::MqttError};

/// The daemon could not start.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The settings lack something that the daemon needs.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The process could not be hardened.
    #[error(transparent)]
    Harden(#[from] HardenError),
    /// The connection to the broker could not be set up.
    #[error(transparent)]
    Mqtt(#[from] MqttError),
    /// The store of the outbox needs an operator.
    #[error(transparent)]
    Outbox(#[from] OpenError),
    /// The audit log needs an operator.
    #[error(transparent)]
    Audit(#[from] proplet_audit::OpenError),
    /// The address for `/health` cannot be listened on.
    #[error("cannot serve /health at {address}: {source}; change [health] listen, or leave it out")]
    Health {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The executor could not be set up.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// This machine will never be released a credential that the settings name.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A plugin of the settings cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// An interface for other programs could not be served.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
}
