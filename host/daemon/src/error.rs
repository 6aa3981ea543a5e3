//! Why the daemon does not start.
//!
//! A supervisor starts a daemon again that failed, unless it failed over its settings (`RestartPreventExitStatus=2` of
//! the service): those are as wrong the next time. So the code is `settings` for what only a change of the settings, or
//! of a file or folder that they name, can mend, and for nothing that may be otherwise in a while, such as another
//! proplet that still has the folder, or an address that is still in use.

use std::net::SocketAddr;

use proplet_executor::{CredentialError, ExecutorError, harden::HardenError};
use proplet_kbs::attestation_service::AttestationServiceError;
use proplet_outbox::OpenError;
use proplet_plugin::PluginError;
use proplet_settings::SettingsError;
use proplet_types::Code;
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

impl DaemonError {
    /// The code that the program ends with.
    #[must_use]
    pub fn code(&self) -> Code {
        use proplet_audit::OpenError as Audit;
        match self {
            Self::Settings(_)
            | Self::Mqtt(MqttError::File { .. } | MqttError::Client(_))
            | Self::Outbox(
                OpenError::Shared { .. }
                | OpenError::NoFolder(_)
                | OpenError::NoDevice(_)
                | OpenError::Public { .. }
                | OpenError::Foreign { .. }
                | OpenError::TooSmall { .. },
            )
            | Self::Audit(Audit::Shared { .. } | Audit::NoFolder(_))
            | Self::Executor(ExecutorError::File { .. })
            | Self::Interface(InterfaceError::AttestationService(
                AttestationServiceError::Config(_),
            ))
            | Self::Plugin(
                PluginError::Read { .. }
                | PluginError::TooLarge { .. }
                | PluginError::Digest { .. }
                | PluginError::NotAPlugin { .. },
            ) => Code::Settings,
            Self::Executor(ExecutorError::Kbs(error)) => error.code(),
            Self::Executor(ExecutorError::Image(error)) => error.code(),
            Self::Executor(ExecutorError::Runtime(error)) => error.code(),
            Self::Credential(error) => error.code,
            Self::Harden(_)
            | Self::Mqtt(MqttError::Tls(_) | MqttError::ClientKey(_))
            | Self::Outbox(OpenError::InUse(_) | OpenError::Busy(_) | OpenError::Thread(_))
            | Self::Audit(Audit::InUse(_) | Audit::Thread(_) | Audit::Random)
            | Self::Health { .. }
            | Self::Executor(ExecutorError::Setup(_))
            | Self::Plugin(PluginError::Engine(_))
            | Self::Interface(_) => Code::HostFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use super::*;

    #[test]
    fn what_only_an_operator_mends_is_a_matter_of_the_settings() {
        let path = || PathBuf::from("/srv/p");
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let file = MqttError::File {
            setting: "ca",
            variable: "PROPLET_MQTT_TLS_CA_CERT",
            path: path(),
            why: "it is empty".to_owned(),
        };
        let shared = || OpenError::Shared {
            path: path(),
            mode: 0o755,
            owner: 0,
        };
        let plugin = PluginError::Read {
            path: path(),
            source: gone(),
        };
        let wrong: [DaemonError; 5] = [
            file.into(),
            shared().into(),
            proplet_audit::OpenError::NoFolder(path()).into(),
            plugin.into(),
            ExecutorError::File {
                path: path(),
                source: gone(),
            }
            .into(),
        ];
        for error in wrong {
            assert_eq!(error.code(), Code::Settings, "{error}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let path = || PathBuf::from("/srv/p");
        let passing: [DaemonError; 4] = [
            OpenError::InUse(path()).into(),
            proplet_audit::OpenError::InUse(path()).into(),
            MqttError::Tls("no bundle of trusted CAs".to_owned()).into(),
            DaemonError::Health {
                address: ([127, 0, 0, 1], 9092).into(),
                source: io::ErrorKind::AddrInUse.into(),
            },
        ];
        for error in passing {
            assert_eq!(error.code(), Code::HostFailed, "{error}");
        }
    }
}
