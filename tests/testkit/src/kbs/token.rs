//! Tokens: ES256, with the key in the header, as Trustee's built-in attestation service signs them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proplet_jose::Error;
use proplet_jose::jws::{SigningKey, VerifyingKey};
use serde_json::{Map, Value, json};

use super::refusal::Refusal;

/// Signs and verifies tokens.
pub(super) struct Issuer {
    signing: SigningKey,
    verifying: VerifyingKey,
}

impl Issuer {
    pub(super) fn new() -> Result<Self, Error> {
        let signing = SigningKey::generate()?;
        let verifying = VerifyingKey::from_jwk(&signing.public_jwk())?;
        Ok(Self { signing, verifying })
    }

    /// A token about what was attested.
    pub(super) fn issue(
        &self,
        submods: Value,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<String, Error> {
        let iat = seconds(now);
        let claims = json!({
            "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
            "iat": iat,
            "exp": iat.saturating_add(lifetime.as_secs()),
            "iss": "CoCo-Attestation-Service",
            "ear.verifier-id": { "developer": "proplet-testkit", "build": "development" },
            "submods": submods,
        });
        let mut jwk = self.signing.public_jwk();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("alg".to_owned(), json!("ES256"));
        }
        let header = Map::from_iter([("typ".to_owned(), json!("JWT")), ("jwk".to_owned(), jwk)]);
        self.signing
            .sign_compact(&header, claims.to_string().as_bytes())
    }

    /// The claims of a token that is ours and not over.
    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Result<Value, Refusal> {
        let verified = self
            .verifying
            .verify_compact(token)
            .map_err(|_| Refusal::token_verifier())?;
        let claims: Value =
            serde_json::from_slice(&verified.payload).map_err(|_| Refusal::token_verifier())?;
        if claims
            .get("exp")
            .and_then(Value::as_u64)
            .is_none_or(|exp| exp <= seconds(now))
        {
            return Err(Refusal::token_verifier());
        }
        Ok(claims)
    }
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
