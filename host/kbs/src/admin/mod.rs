//! Administration of a KBS: resources, policies, reference values.
//!
//! For the owner's machine and for the development key broker. The daemon in the VM has no use for
//! it: whoever administers a KBS decides about every key in it.

mod identity;
mod presented;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_jose::b64;
use proplet_types::{Clock, ResourceUri, SystemClock};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use self::identity::{AUDIENCE, AdminAuth, AdminKey, ISSUER, ROLE};
use self::presented::Presented;
use crate::http::{Exchange, Http, secret_header};
use crate::refusal::{Subject, refusal};
use crate::{KbsConfig, KbsError};

/// The largest answer to a question for policies.
const MAX_POLICIES_BYTES: usize = 4 << 20;

const JSON: &str = "application/json";

/// A client for the owner of a KBS.
pub struct AdminClient {
    http: Http,
    auth: AdminAuth,
    timeout: Duration,
    max_resource_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl AdminClient {
    /// A client of the KBS that `config` names. Sends nothing yet.
    ///
    /// # Errors
    /// [`KbsError::Config`].
    pub fn new(config: KbsConfig, auth: AdminAuth) -> Result<Self, KbsError> {
        let http = Http::new(&config)?;
        let KbsConfig {
            timeout,
            max_resource_bytes,
            ..
        } = config;
        Ok(Self {
            http,
            auth,
            timeout,
            max_resource_bytes,
            clock: Arc::new(SystemClock),
        })
    }

    /// The same with another clock than the machine's, which dates tokens.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Stores a resource, in place of what was there.
    ///
    /// # Errors
    /// [`KbsError::TooLarge`] above [`KbsConfig::max_resource_bytes`]; [`KbsError::AdminRefused`];
    /// [`KbsError::NotFound`] when the KBS's storage fails; any other [`KbsError`] of the way there.
    pub async fn set_resource(&self, uri: &ResourceUri, bytes: &[u8]) -> Result<(), KbsError> {
        let limit = self.max_resource_bytes;
        if bytes.len() > limit {
            return Err(KbsError::TooLarge {
                uri: uri.clone(),
                limit,
            });
        }
        let path = format!("resource/{}", uri.path());
        let kind = "application/octet-stream";
        self.call(Method::POST, path, kind, bytes.to_vec(), Some(uri))
            .await
            .map(drop)
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// As [`AdminClient::set_resource`]; [`KbsError::NotFound`] when there is none.
    pub async fn delete_resource(&self, uri: &ResourceUri) -> Result<(), KbsError> {
        let path = format!("resource/{}", uri.path());
        self.call(Method::DELETE, path, "", Vec::new(), Some(uri))
            .await
            .map(drop)
    }

    /// Sets the resource policy: Rego with a rule `allow` in the package `policy`. A KBS has one.
    ///
    /// # Errors
    /// [`KbsError::AdminRefused`]; [`KbsError::Protocol`] when the KBS does not accept the text;
    /// any other [`KbsError`] of the way there.
    pub async fn set_resource_policy(&self, rego: &str) -> Result<(), KbsError> {
        let body = json!({ "policy": b64::encode(rego.as_bytes()) });
        self.post("resource-policy", &body).await
    }

    /// What the KBS says about its resource policy. Trustee up to 0.20 gives its text; later versions
    /// give a JSON list of their policies.
    ///
    /// # Errors
    /// [`KbsError::AdminRefused`]; [`KbsError::Protocol`] for an answer that is no text or above 4 MiB;
    /// any other [`KbsError`] of the way there.
    pub async fn resource_policy(&self) -> Result<String, KbsError> {
        let path = "resource-policy".to_owned();
        let body = self.call(Method::GET, path, "", Vec::new(), None).await?;
        String::from_utf8(body.to_vec()).map_err(|_| KbsError::Protocol {
            request: "GET /kbs/v0/resource-policy".to_owned(),
            detail: "the answer is no text".to_owned(),
        })
    }

    /// Sets a policy of the attestation service: Rego that says what evidence is worth. `id` is
    /// `default_cpu` for the CPUs' evidence, unless the service's configuration names another one.
    ///
    /// # Errors
    /// As [`AdminClient::set_resource_policy`]; [`KbsError::Unavailable`] when the attestation service
    /// does not take it.
    pub async fn set_attestation_policy(&self, id: &str, rego: &str) -> Result<(), KbsError> {
        let policy = b64::encode(rego.as_bytes());
        let body = json!({ "type": "rego", "policy_id": id, "policy": policy });
        self.post("attestation-policy", &body).await
    }

    /// Registers reference values by name, in place of those of the same names. The attestation
    /// service's reference value provider takes them in its form `sample`, as kbs-client sends them:
    /// whoever may administer vouches for them.
    ///
    /// # Errors
    /// [`KbsError::AdminRefused`]; [`KbsError::Unavailable`] when the provider does not take them, for
    /// instance because its form `sample` is switched off; any other [`KbsError`] of the way there.
    pub async fn register_reference_values(
        &self,
        values: &Map<String, Value>,
    ) -> Result<(), KbsError> {
        let payload = serde_json::to_vec(values).map_err(|error| KbsError::Protocol {
            request: "POST /kbs/v0/reference-value".to_owned(),
            detail: error.to_string(),
        })?;
        let payload = STANDARD.encode(payload);
        let body = json!({ "version": "0.1.0", "type": "sample", "payload": payload });
        self.post("reference-value", &body).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(), KbsError> {
        let body = body.to_string().into_bytes();
        self.call(Method::POST, path.to_owned(), JSON, body, None)
            .await
            .map(drop)
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        content_type: &'static str,
        body: Vec<u8>,
        uri: Option<&ResourceUri>,
    ) -> Result<Zeroizing<Vec<u8>>, KbsError> {
        if let Some(uri) = uri {
            self.http.base().check_host(uri)?;
        }
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let token = self.token()?;
        if let Some(token) = &token {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            headers.extend(secret_header(&bearer).map(|value| (AUTHORIZATION, value)));
        }
        let limit = match method {
            Method::GET => MAX_POLICIES_BYTES,
            _ => 0,
        };
        let exchange = Exchange {
            method,
            path,
            headers,
            body,
            limit,
        };
        let deadline = Instant::now() + self.timeout;
        let answer = self.http.send(&exchange, deadline).await?;
        if !answer.status.is_success() {
            let subject = Subject::Admin(uri);
            let error = refusal(&self.http, &self.http.label(&exchange), subject, &answer);
            return Err(self.advised(error, token.as_ref().map(|token| token.as_str())));
        }
        if answer.cut && limit > 0 {
            return Err(KbsError::Protocol {
                request: self.http.label(&exchange),
                detail: format!("the answer is longer than {limit} bytes"),
            });
        }
        Ok(answer.body)
    }

    /// The same refusal with what the reason may be.
    fn advised(&self, error: KbsError, token: Option<&str>) -> KbsError {
        match error {
            KbsError::AdminRefused { detail, .. } => {
                let advice = Presented::advice(token, &detail, self.clock.now());
                KbsError::AdminRefused { detail, advice }
            }
            error => error,
        }
    }

    fn token(&self) -> Result<Option<Zeroizing<String>>, KbsError> {
        match &self.auth {
            AdminAuth::Token(token) => Ok(Some(token.clone())),
            AdminAuth::Key(key) => key.token(self.clock.now()).map(Some),
            AdminAuth::None => Ok(None),
        }
    }
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminClient")
            .field("kbs", &self.http.base().origin())
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}
