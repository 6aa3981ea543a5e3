//! What administrators do.

use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_jose::b64;
use proplet_types::ResourceUri;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::exchange::{Asked, bearer};
use super::policy::Policy;
use super::refusal::Refusal;
use super::state::State;

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
            "this development key broker evaluates no Rego; it knows the policies that allow all or \
             nothing, and those of docs/trustee",
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
