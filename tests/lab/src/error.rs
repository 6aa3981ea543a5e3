//! Why a lab does not work.

use proplet_daemon::DaemonError;
use proplet_image::ImageError;
use proplet_results::{DocumentError, OpenError};
use proplet_settings::SettingsError;
use proplet_testkit::broker::BrokerError;

use crate::workload::EncryptedComponentError;

/// A part of the lab did not start, or something in it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The broker or the Manager.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The registry or the key broker.
    #[error("the {what} did not start: {source}")]
    Service {
        /// Which one.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The settings document.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A workload.
    #[error(transparent)]
    EncryptedComponent(#[from] EncryptedComponentError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A text is no result.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A result does not verify, or does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl LabError {
    pub(crate) fn registry(source: std::io::Error) -> Self {
        let what = "registry";
        Self::Service { what, source }
    }

    pub(crate) fn key_broker(source: std::io::Error) -> Self {
        let what = "key broker";
        Self::Service { what, source }
    }
}
