//! A token about a component, from the attestation service, for the KBS.
//!
//! The service is told nonce, key and component as one object and hashes that itself; all of it is made here.
//! No challenge is asked for: the service's is empty for the TEEs of CPUs, and it compares none. The nonce
//! makes report data differ and protects nothing. What keeps a recorded request from being of use is the
//! private key, which is made for this session and never leaves this process.

use std::sync::Arc;

use proplet_hal::{TeeName, TeeProvider};
use proplet_jose::b64;
use proplet_jose::jwk::PrivateKey;
use proplet_types::text::server_words;
use serde::Serialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::handshake::{MAX_TOKEN_BYTES, evidence, post};
use crate::http::{Answer, Http};
use crate::protocol::{
    MessageError, Requester, RuntimeData, SentInitData, StructuredRuntimeData, TeePublicKey,
};
use crate::session::{Grant, lifetime};
use crate::token::{MAX_BEARER_BYTES, is_token, token_lifetime};
use crate::{Failure, KbsError};

/// What a token is made with.
pub(crate) struct Passport {
    pub(crate) http: Arc<Http>,
    pub(crate) provider: Arc<dyn TeeProvider>,
    pub(crate) init_data: Option<SentInitData>,
    pub(crate) requester: Option<Requester>,
    pub(crate) nonce: String,
    pub(crate) key: PrivateKey,
    pub(crate) deadline: Instant,
}

/// POST `/attestation`. Without policy ids, the service's own policy for each class of TEE is applied.
#[derive(Serialize)]
struct AttestationRequest<'a> {
    verification_requests: [VerificationRequest<'a>; 1],
    policy_ids: [&'static str; 0],
}

#[derive(Serialize)]
struct VerificationRequest<'a> {
    tee: TeeName,
    /// The evidence's JSON in base64url.
    evidence: String,
    runtime_data: Structured<'a>,
    runtime_data_hash_algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_data: Option<TomlInitData<'a>>,
}

#[derive(Serialize)]
struct Structured<'a> {
    structured: StructuredRuntimeData<'a>,
}

#[derive(Serialize)]
struct TomlInitData<'a> {
    init_data_toml: &'a str,
}

impl Passport {
    /// Attests.
    pub(crate) async fn run(self) -> Result<Grant, KbsError> {
        let own = |error: MessageError| KbsError::Evidence(error.to_string());
        let runtime_data = RuntimeData {
            nonce: self.nonce.clone(),
            tee_pubkey: TeePublicKey::new(self.key.public()).map_err(own)?,
        };
        let structured = StructuredRuntimeData::new(&runtime_data, self.requester.as_ref());
        let digest = structured.digest().map_err(own)?;
        let evidence = evidence(self.provider.as_ref(), &digest).await?;
        let tee = self.provider.tee();
        let request = AttestationRequest {
            verification_requests: [VerificationRequest {
                tee: tee.clone(),
                evidence: b64::encode(evidence.to_string().as_bytes()),
                runtime_data: Structured { structured },
                runtime_data_hash_algorithm: "sha384",
                init_data: self.init_data.as_ref().map(|init_data| TomlInitData {
                    init_data_toml: &init_data.body,
                }),
            }],
            policy_ids: [],
        };
        let exchange = post("attestation", &request, None, MAX_TOKEN_BYTES)?;
        let obtained = Instant::now();
        let answer = self.http.send(&exchange, self.deadline).await?;
        let token = self.token(&answer)?;
        // The service's words about it end with the token.
        let lifetime = lifetime(token_lifetime(&token), None)
            .ok_or_else(|| self.misunderstood("the token is over when it begins"))?;
        tracing::info!(
            %tee,
            attester = self.provider.attester(),
            lifetime_s = lifetime.as_secs(),
            "attested to the attestation service"
        );
        Ok(Grant {
            cookie: None,
            token,
            key: self.key,
            obtained,
            lifetime,
        })
    }

    fn token(&self, answer: &Answer) -> Result<Zeroizing<String>, KbsError> {
        let words = || server_words(&String::from_utf8_lossy(&answer.body));
        match answer.status.as_u16() {
            200 => {}
            500 => {
                return Err(KbsError::ServiceRefused {
                    url: self.http.base().origin(),
                    detail: words(),
                });
            }
            404 => {
                let detail = "POST /attestation leads nowhere";
                return Err(self.http.unavailable(Failure::WrongPath, detail));
            }
            413 => {
                let detail = "POST /attestation was refused";
                return Err(self.http.unavailable(Failure::PayloadTooLarge, detail));
            }
            status => return Err(self.misunderstood(&format!("status {status}: {}", words()))),
        }
        if answer.cut || answer.body.len() > MAX_BEARER_BYTES {
            return Err(KbsError::TokenTooLarge {
                bytes: answer.body.len(),
            });
        }
        let text = std::str::from_utf8(&answer.body).map(str::trim);
        let token = text.ok().filter(|text| is_token(text));
        let token = token.ok_or_else(|| self.misunderstood("it is no JWT"))?;
        Ok(Zeroizing::new(token.to_owned()))
    }

    fn misunderstood(&self, detail: &str) -> KbsError {
        KbsError::ServiceProtocol {
            url: self.http.base().origin(),
            detail: detail.to_owned(),
        }
    }
}
