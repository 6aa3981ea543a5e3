//! Why a request was not made or not answered, as WASI says it.

use proplet_net::reach::outgoing::OutgoingError;
use wasmtime_wasi_http::Error;

pub(super) fn wasi_error(error: OutgoingError) -> Error {
    match error {
        OutgoingError::NotListed(_) => Error::HttpRequestDenied,
        OutgoingError::Method => Error::HttpRequestMethodInvalid,
        OutgoingError::Address => Error::HttpRequestUriInvalid,
        OutgoingError::Prohibited => Error::DestinationIpProhibited,
        OutgoingError::NotFound => Error::DestinationNotFound,
        OutgoingError::Refused => Error::ConnectionRefused,
        OutgoingError::Unreachable => Error::DestinationUnavailable,
        OutgoingError::ConnectTimeout => Error::ConnectionTimeout,
        OutgoingError::Certificate(_) => Error::TlsCertificateError,
        OutgoingError::Tls(_) => Error::TlsProtocolError,
        OutgoingError::TooMany(_) => Error::ConnectionLimitReached,
        OutgoingError::RequestBody(limit) => Error::HttpRequestBodySize(Some(limit)),
        OutgoingError::RequestBroken => Error::ConnectionTerminated,
        OutgoingError::AnswerTimeout => Error::HttpResponseTimeout,
        OutgoingError::Silent => Error::ConnectionReadTimeout,
        OutgoingError::AnswerHead(limit) => Error::HttpResponseHeaderSectionSize(Some(limit)),
        OutgoingError::AnswerBody(limit) => Error::HttpResponseBodySize(Some(limit)),
        OutgoingError::Incomplete => Error::HttpResponseIncomplete,
        OutgoingError::Protocol => Error::HttpProtocolError,
        // A later one.
        other => Error::InternalError(Some(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_codes_of_their_own() {
        let code = |error| format!("{:?}", wasi_error(error));
        assert_eq!(
            code(OutgoingError::NotListed("a".into())),
            "HttpRequestDenied"
        );
        assert_eq!(code(OutgoingError::Prohibited), "DestinationIpProhibited");
        assert_eq!(
            code(OutgoingError::AnswerBody(7)),
            "HttpResponseBodySize(Some(7))"
        );
        assert_eq!(code(OutgoingError::TooMany(8)), "ConnectionLimitReached");
    }
}
