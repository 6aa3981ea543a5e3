//! Who may administer.

use std::time::SystemTime;

use proplet_jose::jws::VerifyingKey;
use serde_json::Value;

use super::refusal::Refusal;
use super::token::seconds;

/// Who may administer the broker.
#[derive(Debug, Clone)]
pub enum AdminAccess {
    /// Everybody, as Trustee's default `InsecureAllowAll`.
    Everybody,
    /// Nobody, as Trustee's `DenyAll`.
    Nobody,
    /// Whoever has a token of this kind, as Trustee's `AuthenticatedAuthorization`.
    Key(Administrator),
}

/// What the token of an administrator must be: signed by this key, with a number `exp` in the future and
/// these claims.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// The administrator's public key.
    pub key: VerifyingKey,
    /// What the claim `iss` must be; anything when absent.
    pub issuer: Option<String>,
    /// What the claim `aud` must be or hold; anything when absent.
    pub audience: Option<String>,
    /// What the claim `role` must be.
    pub role: String,
}

impl Administrator {
    /// The administrator with this key, as Trustee's own compose file has it: issuer `TrusteeInDocker`,
    /// any audience, role `admin`.
    pub fn new(key: VerifyingKey) -> Self {
        Self {
            key,
            issuer: Some("TrusteeInDocker".to_owned()),
            audience: None,
            role: "admin".to_owned(),
        }
    }

    fn check(&self, token: &str, now: SystemTime) -> Result<(), Refusal> {
        // One answer for all of these, as Trustee gives it: its log says more.
        let unverified = || denied("Cannot verify token with any of the issuers");
        let verified = self.key.verify_compact(token).map_err(|_| unverified())?;
        let claims: Value = serde_json::from_slice(&verified.payload).map_err(|_| unverified())?;
        let lasts = claims
            .get("exp")
            .and_then(Value::as_u64)
            .is_some_and(|exp| exp > seconds(now));
        if !lasts {
            return Err(unverified());
        }
        let role = claims
            .get("role")
            .and_then(Value::as_str)
            .ok_or_else(|| denied("Missing required `role` claim in JWT"))?;
        let is_for = |audience: &String| match claims.get("aud") {
            Some(Value::String(given)) => given == audience,
            Some(Value::Array(given)) => given.iter().any(|given| given == audience),
            _ => false,
        };
        let issued_by = |issuer: &String| claims.get("iss").is_some_and(|given| given == issuer);
        if !self.issuer.as_ref().is_none_or(issued_by) || !self.audience.as_ref().is_none_or(is_for)
        {
            return Err(unverified());
        }
        if role == self.role {
            Ok(())
        } else {
            Err(denied("Role not allowed"))
        }
    }
}

impl AdminAccess {
    /// Whether the bearer of this token, if there is one, is an administrator.
    pub(super) fn check(&self, bearer: Option<&str>, now: SystemTime) -> Result<(), Refusal> {
        match self {
            Self::Everybody => Ok(()),
            Self::Nobody => Err(refused("Admin endpoints disabled.")),
            Self::Key(administrator) => match bearer {
                Some(token) => administrator.check(token, now),
                None => Err(refused("Failed to parse HTTP Auth Bearer header")),
            },
        }
    }
}

fn denied(reason: &str) -> Refusal {
    refused(&format!("Admin access denied: {reason}"))
}

fn refused(why: &str) -> Refusal {
    let detail = format!("failed to initialize [admin] configuration: {why}");
    Refusal::new("AdminAuthInitialization", detail)
}
