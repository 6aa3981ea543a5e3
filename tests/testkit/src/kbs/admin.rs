//! Who may administer, and what administrators do.

use std::time::SystemTime;

use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_jose::b64;
use proplet_jose::jws::VerifyingKey;
use proplet_types::ResourceUri;
use serde_json::{Map, Value, json};

use super::dispatch::{Answer, bearer};
use super::exchange::Asked;
use super::policy::Policy;
use super::refusal::Refusal;
use super::state::State;
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
    fn check(&self, bearer: Option<&str>, now: SystemTime) -> Result<(), Refusal> {
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

/// Does what an administrator asks for.
pub(super) fn administer(state: &State, asked: &Asked) -> Result<Answer, Refusal> {
    let bearer = bearer(&asked.headers);
    state.rules.admin.check(bearer, state.now())?;
    let (plugin, path) = asked.path.split_once('/').unwrap_or((&asked.path, ""));
    let address = || ResourceUri::from_path(path).map_err(|_| Refusal::plugin());
    let text = || Answer::default().with(CONTENT_TYPE, "text/xml".to_owned());
    match (&asked.method, plugin) {
        (&Method::POST, "resource-policy") if path.is_empty() => set_policy(state, &asked.body),
        // Later versions of Trustee name their policies, of which this one has one.
        (&Method::GET, "resource-policy") if path.is_empty() => {
            Ok(Answer::json(&json!(["resource-policy"])))
        }
        (&Method::POST, "attestation-policy") if path.is_empty() => {
            set_attestation_policy(state, &asked.body)
        }
        (&Method::POST, "reference-value") if path.is_empty() => {
            let values = reference_values(&asked.body)
                .ok_or_else(|| Refusal::new("RvpsError", "Failed to register reference value"))?;
            state.register(values);
            Ok(Answer::default().with(CONTENT_TYPE, "application/json".to_owned()))
        }
        (&Method::POST, "resource") => {
            state.set_resource(address()?.path(), asked.body.clone());
            Ok(text())
        }
        (&Method::DELETE, "resource") if state.delete_resource(address()?.path()) => Ok(text()),
        (&Method::DELETE, "resource") => Err(Refusal::plugin()),
        _ => Err(Refusal::new(
            "PluginNotFound",
            format!("Plugin {plugin} not found"),
        )),
    }
}

fn set_policy(state: &State, body: &[u8]) -> Result<Answer, Refusal> {
    let policy = rego(body).as_deref().and_then(Policy::from_rego);
    let policy = policy.ok_or_else(|| {
        Refusal::new(
            "ParsePolicyError",
            "this development key broker evaluates no Rego; it knows the policies that allow all or nothing",
        )
    })?;
    state.set_policy(policy);
    Ok(Answer::default())
}

fn set_attestation_policy(state: &State, body: &[u8]) -> Result<Answer, Refusal> {
    let malformed = || Refusal::attest("set attestation policy");
    let value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    let id = value.get("policy_id").and_then(Value::as_str);
    let is_rego = value.get("type").is_some_and(|kind| kind == "rego");
    match (id, rego(body)) {
        (Some(id), Some(text)) if is_rego && !id.is_empty() => {
            state.set_attestation_policy(id, text);
            Ok(Answer::default())
        }
        _ => Err(malformed()),
    }
}

/// The text of the policy in a message.
fn rego(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    String::from_utf8(b64::decode(body.get("policy")?.as_str()?).ok()?).ok()
}

/// The values in a message of the form `sample`.
fn reference_values(body: &[u8]) -> Option<Map<String, Value>> {
    let message: Value = serde_json::from_slice(body).ok()?;
    if message.get("version")? != "0.1.0" || message.get("type")? != "sample" {
        return None;
    }
    let payload = STANDARD.decode(message.get("payload")?.as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}
