//! What an answer other than success means.
//!
//! Decided by the `type` of the error body. The status only decides where there is no such body: then
//! something before the KBS answered, or no KBS at all.

use proplet_types::{ResourceUri, text::server_words};

use crate::http::{Answer, Http};
use crate::protocol::ErrorBody;
use crate::{Failure, KbsError};

/// What was asked.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    Handshake,
    Resource(&'a ResourceUri),
    /// An administrator's call, about a resource or about the KBS as a whole.
    Admin(Option<&'a ResourceUri>),
}

/// The error that an answer stands for.
pub(crate) fn refusal(
    http: &Http,
    request: &str,
    subject: Subject<'_>,
    answer: &Answer,
) -> KbsError {
    let status = answer.status.as_u16();
    let Some(error) = ErrorBody::parse(&answer.body) else {
        return match status {
            404 => http.unavailable(Failure::WrongPath, format!("{request} leads nowhere")),
            413 => http.unavailable(Failure::PayloadTooLarge, format!("{request} was refused")),
            _ => KbsError::Protocol {
                request: request.to_owned(),
                detail: format!("status {status} without an error body of a KBS"),
            },
        };
    };
    let detail = server_words(&error.detail);
    let uri = match subject {
        Subject::Resource(uri) => Some(uri),
        Subject::Admin(uri) => uri,
        Subject::Handshake => None,
    };
    let words = |what: &str| format!("{request}: {what}: {detail}");
    match (error.variant(), uri) {
        ("PolicyDeny", Some(uri)) => KbsError::Denied {
            uri: uri.clone(),
            detail,
        },
        ("PolicyEngineError" | "ParsePolicyError", Some(uri)) => KbsError::Denied {
            uri: uri.clone(),
            detail: format!("the resource policy cannot be evaluated: {detail}"),
        },
        ("PluginInternalError", Some(uri)) => KbsError::NotFound {
            uri: uri.clone(),
            detail,
        },
        ("TokenNotFound" | "TokenVerifierError", _) => KbsError::TokenRefused { detail },
        ("AttestationError", _) if detail.contains("Version Mismatch") => {
            KbsError::VersionMismatch { detail }
        }
        // What an administrator gave the attestation service, which is no evidence.
        ("AttestationError", _) if matches!(subject, Subject::Admin(_)) => {
            http.unavailable(Failure::Backend, words(error.variant()))
        }
        ("AttestationError", _) => KbsError::Rejected { detail },
        ("AdminAuthInitialization" | "AdminAuthAccess", _) => KbsError::AdminRefused {
            detail,
            advice: "only administrators may ask for this".to_owned(),
        },
        ("InvalidRequestPath" | "PluginNotFound", _) => {
            http.unavailable(Failure::WrongPath, words(error.variant()))
        }
        (
            "HTTPFailed"
            | "HTTPSFailed"
            | "PluginInternalError"
            | "PluginManagerInitialization"
            | "PrometheusError"
            | "RvpsError"
            | "StorageBackendInitialization",
            _,
        ) => http.unavailable(Failure::Backend, words(error.variant())),
        ("JweError", _) => KbsError::Protocol {
            request: request.to_owned(),
            detail: format!("it cannot encrypt to this machine's key: {detail}"),
        },
        (variant, _) => KbsError::Protocol {
            request: request.to_owned(),
            detail: format!("status {status}, {}: {detail}", server_words(variant)),
        },
    }
}
