//! Why a request was not made or not answered.

use std::error::Error as StdError;

use url::Url;

use super::endpoint::InvalidEndpoint;
use super::resolver::{AddressRefused, NameNotFound};
use crate::{TlsError, tls};

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A host in the settings is not a valid one.
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    /// The certificates of the settings cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP library.
    #[error("HTTP client: {0}")]
    Http(String),
}

/// Why a request brought no answer. The words may leave this host: about a host that a stranger sent
/// us to they say nothing but its name, which that stranger chose.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address may not be connected to. Only said of the host that was asked for.
    #[error(
        "{host} is not a public address; if it is meant, list it under [registry] private_hosts in the \
         settings document"
    )]
    Refused {
        /// Host and port.
        host: String,
    },
    /// Plain http, to a host that is not listed for it. Only said of the host that was asked for.
    #[error(
        "{host} may not be asked over plain http: use https, or list it under [registry] http_hosts in \
         the settings document"
    )]
    PlainHttp {
        /// Host and port.
        host: String,
    },
    /// Something that passes or lasts on the way to the host that was asked for.
    #[error("{words}")]
    Failed {
        /// What happened.
        words: String,
        /// Whether it may pass.
        transient: bool,
    },
    /// Anything about a host that was not asked for.
    #[error("{}", foreign_words(host))]
    Foreign {
        /// Host and port.
        host: String,
        /// Whether it may pass.
        transient: bool,
    },
}

/// All that is told about a host that a stranger sent us to.
#[must_use]
pub fn foreign_words(host: &str) -> String {
    format!(
        "this host was sent on to {host}, which gave nothing that can be used; the log of this host says \
         why (plain http and private addresses need an entry under [registry] in the settings document)"
    )
}

impl Error {
    /// Whether another try may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Failed { transient, .. } | Self::Foreign { transient, .. } => *transient,
            Self::Refused { .. } | Self::PlainHttp { .. } => false,
        }
    }

    /// What may be told when it was a foreign host that failed. Says why to the log.
    pub(super) fn told(self, foreign: bool) -> Self {
        let (host, transient) = match (&self, foreign) {
            (Self::Refused { host } | Self::PlainHttp { host }, true) => (host.clone(), false),
            _ => return self,
        };
        tracing::warn!("Not sent on: {self}");
        Self::Foreign { host, transient }
    }

    pub(super) fn failed(error: reqwest::Error, at: &Url, foreign: bool) -> Self {
        let error = error.without_url();
        let host = authority(at);
        let mut transient = true;
        let mut words = String::new();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(this) = cause {
            if this.is::<AddressRefused>() {
                return Self::Refused { host }.told(foreign);
            }
            // A wrong certificate does not become right, nor does a wrong name.
            transient &= !this.is::<rustls::Error>();
            transient &= this
                .downcast_ref::<NameNotFound>()
                .is_none_or(NameNotFound::is_transient);
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&this.to_string());
            cause = tls::inner(this);
        }
        let words = tls::explain(&error).unwrap_or(words);
        if foreign {
            tracing::warn!("{host}, which this host was sent on to: {words}");
            Self::Foreign { host, transient }
        } else {
            Self::Failed { words, transient }
        }
    }
}

/// Host and port of a URL, cut to a length that is fit to be shown.
pub(super) fn authority(url: &Url) -> String {
    let host: String = url
        .host_str()
        .unwrap_or_default()
        .chars()
        .take(255)
        .collect();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}
