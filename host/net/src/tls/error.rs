//! Why TLS cannot be set up.

use thiserror::Error;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The CA is not PEM.
    #[error("the CA is not PEM: {0}; give CERTIFICATE blocks")]
    NotPem(String),
    /// The CA has no certificate in it.
    #[error("the CA holds no CERTIFICATE block; give the certificate in PEM")]
    Empty,
    /// A certificate does not parse.
    #[error("the CA is not a usable certificate: {0}")]
    Certificate(String),
    /// The system has no store of trusted CAs.
    #[error(
        "this machine has no bundle of trusted CAs ({0}); install one (often the package \
         ca-certificates), or name the CA in the settings"
    )]
    NoSystemStore(String),
    /// The TLS library does not take the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}
