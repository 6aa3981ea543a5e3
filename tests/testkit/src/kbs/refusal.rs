//! Refusals in Trustee's words: nearly all of them status 401, told apart by the type in the body,
//! which has no content type.

use super::exchange::Reply;

/// A refusal.
pub(super) struct Refusal {
    /// None: of the attestation service, which answers everything with 500 and words.
    variant: Option<&'static str>,
    detail: String,
}

impl Refusal {
    pub(super) fn new(variant: &'static str, detail: impl Into<String>) -> Self {
        Self {
            variant: Some(variant),
            detail: detail.into(),
        }
    }

    /// Of the attestation service.
    pub(super) fn service(reason: impl std::fmt::Display) -> Self {
        Self {
            variant: None,
            detail: format!("attestation failed: {reason}"),
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

    pub(super) fn into_reply(self) -> Reply {
        match self.variant {
            Some(variant) => Reply::error(variant, &self.detail),
            None => Reply::new(500, self.detail),
        }
    }
}
