//! Why a request of a component was not made or not answered.

use std::error::Error as StdError;
use std::io;

use http_body_util::LengthLimitError;

use super::bounds::Bounds;
use crate::tls;

/// Why a request was not made or not answered. The component may be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutgoingError {
    /// Nobody listed the host for this component, or not for plain http.
    #[error("{0} is not listed for requests of this component")]
    NotListed(String),
    /// The method is not one for a request to a server.
    #[error("CONNECT is for proxies, and there is none")]
    Method,
    /// The address cannot be read, or has a user name in it.
    #[error("the address is not valid: write https://host/path, without a user name")]
    Address,
    /// No address of the host may be connected to.
    #[error("the host has no public address; the settings can list it under [http] private_hosts")]
    Prohibited,
    /// Nobody knows the name.
    #[error("the host's name was not found")]
    NotFound,
    /// Nobody listens.
    #[error("the connection was refused")]
    Refused,
    /// There is no way there.
    #[error("the host cannot be reached")]
    Unreachable,
    /// It took too long to connect.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The certificate is not good.
    #[error("{0}")]
    Certificate(String),
    /// The TLS handshake failed for another reason.
    #[error("{0}")]
    Tls(String),
    /// As many requests as there may be are under way.
    #[error("{0} requests are under way, as many as there may be; read their answers first")]
    TooMany(usize),
    /// The request's body is too large.
    #[error("the request's body has more than {0} bytes")]
    RequestBody(u64),
    /// The request's body broke off.
    #[error("the request's body ended before its end")]
    RequestBroken,
    /// The head of the answer did not come in time.
    #[error("no answer in time")]
    AnswerTimeout,
    /// The body of the answer did not go on in time.
    #[error("the answer did not go on in time")]
    Silent,
    /// The answer's head is too large.
    #[error("the answer's head has more than {0} bytes")]
    AnswerHead(u32),
    /// The answer's body is too large.
    #[error("the answer's body has more than {0} bytes")]
    AnswerBody(u64),
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer did")]
    Incomplete,
    /// What came is no HTTP.
    #[error("the server does not speak HTTP as it should")]
    Protocol,
}

impl OutgoingError {
    pub(super) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Unreachable,
        }
    }

    pub(super) fn of_tls(error: &io::Error) -> Self {
        let words = tls::explain(error).unwrap_or_else(|| "the TLS handshake broke off".to_owned());
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(_)) => Self::Certificate(words),
            _ => Self::Tls(words),
        }
    }

    /// Of what went wrong before the head of the answer was there.
    pub(super) fn of_exchange(error: &hyper::Error, bounds: &Bounds) -> Self {
        if has_cause::<LengthLimitError>(error) {
            return Self::RequestBody(bounds.body_bytes);
        }
        if error.is_user() {
            return Self::RequestBroken;
        }
        if error.is_parse_too_large() {
            return Self::AnswerHead(u32::try_from(bounds.head_bytes).unwrap_or(u32::MAX));
        }
        if error.is_parse() {
            return Self::Protocol;
        }
        Self::Incomplete
    }
}

fn has_cause<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if this.is::<E>() {
            return true;
        }
        cause = this.source();
    }
    false
}
