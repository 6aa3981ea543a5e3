//! Refusals in Trustee's words: nearly all of them status 401, told apart by the type in the body,
//! which has no content type.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use proplet_kbs::protocol::{ERROR_TYPE_PREFIX, ErrorBody};

/// A refusal.
pub(super) struct Refusal {
    variant: &'static str,
    detail: String,
}

impl Refusal {
    pub(super) fn new(variant: &'static str, detail: impl Into<String>) -> Self {
        Self {
            variant,
            detail: detail.into(),
        }
    }

    pub(super) fn auth(detail: &str) -> Self {
        let detail = format!("Attestation error: RCAR handshake Auth failed: {detail}");
        Self::new("AttestationError", detail)
    }

    /// The reason goes to the log only, as with Trustee, whose answer says no more than that.
    pub(super) fn attest(reason: impl std::fmt::Display) -> Self {
        tracing::info!(%reason, "the development key broker refuses evidence");
        Self::new(
            "AttestationError",
            "Attestation error: RCAR handshake Attest failed",
        )
    }

    pub(super) fn token_not_found() -> Self {
        Self::new("TokenNotFound", "Attestation Token not found")
    }

    pub(super) fn token_verifier() -> Self {
        Self::new("TokenVerifierError", "Token Verifier error")
    }

    pub(super) fn plugin() -> Self {
        Self::new("PluginInternalError", "Plugin internal error")
    }

    pub(super) fn denied() -> Self {
        Self::new("PolicyDeny", "Access denied by policy")
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let status = match self.variant {
            "InvalidRequestPath" | "PluginNotFound" => StatusCode::NOT_FOUND,
            _ => StatusCode::UNAUTHORIZED,
        };
        let error_type = format!("{ERROR_TYPE_PREFIX}{}", self.variant);
        let body = ErrorBody {
            error_type,
            detail: self.detail,
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&body).unwrap_or_default()));
        *response.status_mut() = status;
        response
    }
}
