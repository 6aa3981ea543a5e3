//! The attestation service, asked directly: a token about evidence, without a key broker.
//!
//! Trustee's `restful-as`: `POST <url>/attestation` gives the text of a JWT, or status 500 with a line of text.
//! The token proves to a relying party what the evidence is about; since no object that this crate sends there has
//! a member `tee-pubkey`, it opens nothing at a key broker.

use std::time::Duration;

use proplet_hal::{Evidence, InitData};
use proplet_jose::b64;
use proplet_types::{Code, text::server_words};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::http::{Exchange, Http};
use crate::{Failure, KbsConfig, KbsError};

/// The longest token.
const MAX_TOKEN_BYTES: usize = 256 * 1024;
/// What a service is never sent: with it in a token, a key broker takes whoever has the key for this VM.
const KEY_CLAIM: &str = "tee-pubkey";

/// A client of one attestation service.
pub struct AttestationService {
    http: Http,
    timeout: Duration,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationServiceError {
    /// The settings cannot work; nothing was sent.
    #[error("the attestation service's settings cannot be used: {0}")]
    Config(String),
    /// The claims hold a key; nothing was sent.
    #[error(
        "claims with a {KEY_CLAIM} are not sent: the token would open what a key broker releases to this VM"
    )]
    KeyInClaims,
    /// The service could not be reached.
    #[error(
        "the attestation service at {url} is unavailable: {failure}: {detail}; check its address, its CA and its log"
    )]
    Unavailable {
        /// Scheme, host and port.
        url: String,
        /// Where the exchange broke.
        failure: Failure,
        /// The cause in words.
        detail: String,
    },
    /// The service gives no token for this evidence.
    #[error(
        "the attestation service refuses this machine's evidence (status {status}): {detail}; look at its log"
    )]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// What the service gave is no token.
    #[error(
        "the attestation service's answer is no token; check that its address leads to Trustee's restful-as"
    )]
    NoToken,
}

impl AttestationServiceError {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Config(_) | Self::KeyInClaims => Code::KbsConfig,
            Self::Unavailable { .. } => Code::AttestationServiceUnavailable,
            Self::Refused { .. } | Self::NoToken => Code::AttestationServiceRefused,
        }
    }
}

impl AttestationService {
    /// A client of the service at the configuration's URL. Sends nothing yet.
    ///
    /// # Errors
    /// [`AttestationServiceError::Config`] for an address or CA that cannot work.
    pub fn new(config: &KbsConfig) -> Result<Self, AttestationServiceError> {
        let http =
            Http::to_service(&config.url, config.ca_pem.as_deref(), config).map_err(|error| {
                AttestationServiceError::Config(match error {
                    KbsError::Config(words) => words,
                    error => error.to_string(),
                })
            })?;
        Ok(Self {
            http,
            timeout: config.timeout,
        })
    }

    /// A token about evidence whose report data is SHA-512 over the canonical JSON of `claims`. The service
    /// recomputes that, compares the init-data with the VM's, and shows both in the token.
    ///
    /// # Errors
    /// [`AttestationServiceError`].
    pub async fn token(
        &self,
        evidence: &Evidence,
        claims: &Map<String, Value>,
        init_data: Option<&InitData>,
    ) -> Result<String, AttestationServiceError> {
        if claims.contains_key(KEY_CLAIM) {
            return Err(AttestationServiceError::KeyInClaims);
        }
        let mut request = json!({
            "tee": evidence.tee.to_string(),
            "evidence": b64::encode(evidence.evidence.to_string().as_bytes()),
            "runtime_data": { "structured": claims },
            "runtime_data_hash_algorithm": "sha512",
        });
        if let (Some(init_data), Some(members)) = (init_data, request.as_object_mut()) {
            let document = json!({ "init_data_toml": init_data.text() });
            members.insert("init_data".to_owned(), document);
        }
        let body = json!({ "verification_requests": [request], "policy_ids": [] });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let exchange = Exchange {
            method: Method::POST,
            path: "attestation".to_owned(),
            headers,
            body: body.to_string().into_bytes(),
            limit: MAX_TOKEN_BYTES,
        };
        // Once: with a 500 the service refuses the evidence, which is as costly as it was to make.
        let deadline = Instant::now() + self.timeout;
        let answer =
            self.http
                .attempt(&exchange, deadline)
                .await
                .map_err(|(failure, detail)| AttestationServiceError::Unavailable {
                    url: self.http.base().origin(),
                    failure,
                    detail,
                })?;
        if !answer.status.is_success() {
            return Err(AttestationServiceError::Refused {
                status: answer.status.as_u16(),
                detail: server_words(&String::from_utf8_lossy(&answer.body)),
            });
        }
        let token = std::str::from_utf8(&answer.body).unwrap_or_default().trim();
        if answer.cut || !is_jwt(token) {
            return Err(AttestationServiceError::NoToken);
        }
        Ok(token.to_owned())
    }
}

/// Whether a text has the form of a signed JWT. What is in it is for whoever relies on it to verify.
fn is_jwt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && b64::decode(part).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_three_parts_of_base64url_are_a_token() {
        assert!(is_jwt("eyJh.e30.c2ln"));
        for other in [
            "",
            "a.b",
            "..",
            "eyJh.e30.",
            "eyJh.e30.c2ln.x",
            "<html>",
            "e+/=.e30.c2ln",
        ] {
            assert!(!is_jwt(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_a_token_or_not(text in ".{0,60}") {
            let _ = is_jwt(&text);
        }
    }
}
