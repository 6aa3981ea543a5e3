//! What went wrong in a TLS handshake, and what to do, in words for whoever set the server up.

use std::{error::Error, time::Duration};

use rustls::{AlertDescription, CertificateError, pki_types::UnixTime};
use x509_cert::der::DateTime;

/// How to make a certificate for a server that is trusted by itself.
const MAKE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
                    -subj /CN=HOST -addext basicConstraints=critical,CA:FALSE \
                    -addext subjectAltName=DNS:HOST -keyout server.key -out server.pem (for an address: \
                    subjectAltName=IP:ADDRESS)";

/// The words for an error that has a TLS failure among its causes; none for other errors.
#[must_use]
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if let Some(error) = this.downcast_ref::<rustls::Error>() {
            return Some(words(error));
        }
        cause = inner(this);
    }
    None
}

/// The next cause of an error. An I/O error that wraps another error names that one's cause as its own,
/// and so would skip the one that tells most.
#[must_use]
pub fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn words(error: &rustls::Error) -> String {
    use AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(error),
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port; check the port, and whether it is a plain one"
                .to_owned()
        }
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            Alert::ProtocolVersion | Alert::InsufficientSecurity | Alert::HandshakeFailure,
        ) => format!(
            "the server has nothing in common with TLS 1.3, or TLS 1.2 with ECDHE, or it wants a client \
             certificate ({error})"
        ),
        rustls::Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::AccessDenied
            | Alert::DecryptError),
        ) => format!(
            "the server refuses this client's certificate, or wants one ({alert:?}); give a client \
             certificate of the CA that the server names"
        ),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the server's certificate is not signed by a CA that is trusted here; name the CA that signed \
             it, or, when it is self-signed, the certificate itself"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "the server's certificate is not signed by a CA that is trusted here, though one has the same \
             name; name the CA that signed it, as it is now"
                .to_owned()
        }
        CertificateError::NotValidForName => format!(
            "the server's certificate is not for this host name; connect by a name that is in it, or make \
             one: {MAKE}"
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } if presented.is_empty() => format!(
            "the server's certificate names no host: it has no subject alternative name, and the common \
             name does not count; make one that is for {}: {MAKE}",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the server's certificate is for {} and not for {}; connect by a name that is in it, or make \
             one: {MAKE}",
            names(presented),
            expected.to_str()
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired on {}, and it is {} here; renew it, or set this machine's \
             clock",
            date(*not_after),
            date(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is valid from {} on, and it is {} here; set this machine's clock",
            date(*not_before),
            date(*time)
        ),
        CertificateError::Revoked => "the server's certificate is revoked; renew it".to_owned(),
        other => {
            let text = other.to_string();
            // The library hands these through as they come from the verification of chains.
            if text.contains("CaUsedAsEndEntity") {
                format!(
                    "the server's certificate is that of a CA (CA:TRUE) and not the one that is named \
                     here; name that very certificate as the CA, or make one for a server: {MAKE}"
                )
            } else if text.contains("UnsupportedCertVersion") {
                format!(
                    "the server's certificate is of X.509 version 1, which names no host; make one: {MAKE}"
                )
            } else {
                format!("the server's certificate cannot be used: {text}")
            }
        }
    }
}

/// The names in a certificate, which the library gives as `DnsName("a.example")`. Whoever made the
/// certificate chose their number and length.
fn names(presented: &[String]) -> String {
    let name = |text: &String| {
        let inside = text.split_once('(').map_or(text.as_str(), |(_, rest)| rest);
        let inside = inside.trim_end_matches(')').trim_matches('"');
        inside
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect()
    };
    let shown: Vec<String> = presented.iter().take(5).map(name).collect();
    shown.join(", ")
}

fn date(time: UnixTime) -> String {
    match DateTime::from_unix_duration(Duration::from_secs(time.as_secs())) {
        Ok(date) => date.to_string(),
        Err(_) => format!("second {} of 1970", time.as_secs()),
    }
}
