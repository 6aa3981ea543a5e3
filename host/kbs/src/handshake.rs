//! One attestation: Request, Challenge, Attestation, Response.
//!
//! The report data is composed here, from the KBS's nonce, a key that was made for this session in this
//! process and, where the session is one component's, the digests that this host found. Nothing that a guest
//! says enters it.

use std::sync::Arc;

use proplet_hal::{ReportData, TeeProvider};
use proplet_jose::jwk::PrivateKey;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::KbsError;
use crate::http::{Answer, Exchange, Http, secret_header};
use crate::protocol::{
    Attestation, Challenge, MessageError, Request, Requester, RuntimeData, SESSION_COOKIE,
    SentInitData, TeeEvidence, TeePublicKey, from_json,
};
use crate::refusal::{Subject, refusal};
use crate::session::{Grant, lifetime};
use crate::token::{is_token, session_cookie, session_lifetime, token_lifetime};

/// The largest challenge in bytes. A KBS sends 74; some TEEs get parameters.
const MAX_CHALLENGE_BYTES: usize = 64 * 1024;

/// The largest answer with a token in bytes. Verbose tokens repeat the evidence and event log.
pub(crate) const MAX_TOKEN_BYTES: usize = 1 << 20;

/// What a handshake is made with.
pub(crate) struct Handshake {
    pub(crate) http: Arc<Http>,
    pub(crate) provider: Arc<dyn TeeProvider>,
    pub(crate) init_data: Option<SentInitData>,
    /// Goes into the additional evidence, when there is one.
    pub(crate) requester: Option<Requester>,
    pub(crate) key: PrivateKey,
    pub(crate) deadline: Instant,
}

/// Borrowed from the answer: the alphabet of a JWT needs no escapes, and so no copy.
#[derive(Deserialize)]
struct Response<'a> {
    token: &'a str,
}

impl Handshake {
    /// Attests.
    pub(crate) async fn run(self) -> Result<Grant, KbsError> {
        let tee = self.provider.tee();
        let auth = post(
            "auth",
            &Request::new(tee.clone()),
            None,
            MAX_CHALLENGE_BYTES,
        )?;
        let answer = self.send(&auth).await?;
        let understand = |error: MessageError| self.misunderstood(&auth, error.to_string());
        let challenge = Challenge::parse(&answer.body).map_err(understand)?;
        let algorithm = challenge.hash_algorithm().map_err(understand)?;
        let cookie = session_cookie(&answer.headers).ok_or_else(|| {
            self.misunderstood(&auth, format!("it sets no cookie {SESSION_COOKIE}"))
        })?;

        let own = |error: MessageError| KbsError::Evidence(error.to_string());
        let runtime_data = RuntimeData {
            nonce: challenge.nonce,
            tee_pubkey: TeePublicKey::new(self.key.public()).map_err(own)?,
        };
        let additional_evidence = match &self.requester {
            Some(requester) => requester
                .additional_evidence(&runtime_data, algorithm)
                .map_err(own)?,
            None => String::new(),
        };
        let digest = runtime_data
            .primary_digest(&additional_evidence, algorithm)
            .map_err(own)?;
        let evidence = evidence(self.provider.as_ref(), &digest).await?;
        let attestation = Attestation {
            init_data: self.init_data.clone(),
            runtime_data,
            tee_evidence: TeeEvidence {
                primary_evidence: evidence,
                additional_evidence,
            },
        };
        let attest = post("attest", &attestation, Some(&cookie), MAX_TOKEN_BYTES)?;
        let obtained = Instant::now();
        let answer = self.send(&attest).await?;
        let Response { token } = from_json("token", &answer.body)
            .map_err(|error| self.misunderstood(&attest, error.to_string()))?;
        if !is_token(token) {
            return Err(self.misunderstood(&attest, "the token is not a JWT".to_owned()));
        }
        let lifetime = lifetime(token_lifetime(token), session_lifetime(&answer.headers))
            .ok_or_else(|| {
                self.misunderstood(
                    &attest,
                    "the token or session is over when it begins".to_owned(),
                )
            })?;
        let cookie = session_cookie(&answer.headers).unwrap_or(cookie);
        tracing::info!(
            %tee,
            attester = self.provider.attester(),
            lifetime_s = lifetime.as_secs(),
            "attested to the KBS"
        );
        let token = Zeroizing::new(token.to_owned());
        Ok(Grant {
            cookie: Some(cookie),
            token,
            key: self.key,
            obtained,
            lifetime,
        })
    }

    async fn send(&self, exchange: &Exchange) -> Result<Answer, KbsError> {
        let answer = self.http.send(exchange, self.deadline).await?;
        if !answer.status.is_success() {
            return Err(refusal(
                &self.http,
                &self.http.label(exchange),
                Subject::Handshake,
                &answer,
            ));
        }
        if answer.cut {
            let detail = format!("the answer is larger than {} bytes", exchange.limit);
            return Err(self.misunderstood(exchange, detail));
        }
        Ok(answer)
    }

    fn misunderstood(&self, exchange: &Exchange, detail: String) -> KbsError {
        KbsError::Protocol {
            request: self.http.label(exchange),
            detail,
        }
    }
}

/// Evidence of the TEE over a digest.
pub(crate) async fn evidence(provider: &dyn TeeProvider, digest: &[u8]) -> Result<Value, KbsError> {
    let own = |error: &dyn std::fmt::Display| KbsError::Evidence(error.to_string());
    let tee = provider.tee();
    let report_data = ReportData::new(digest).map_err(|error| own(&error))?;
    let evidence = provider.evidence(&report_data).await;
    let evidence = evidence.map_err(|error| KbsError::no_evidence(&error))?;
    if evidence.tee != tee {
        return Err(KbsError::Evidence(format!(
            "the attester `{}` announced the TEE `{tee}` and gave evidence of `{}`",
            provider.attester(),
            evidence.tee,
        )));
    }
    Ok(evidence.evidence)
}

pub(crate) fn post(
    path: &str,
    message: &impl Serialize,
    cookie: Option<&str>,
    limit: usize,
) -> Result<Exchange, KbsError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(cookie) = cookie {
        let pair = Zeroizing::new(format!("{SESSION_COOKIE}={cookie}"));
        headers.extend(secret_header(&pair).map(|value| (COOKIE, value)));
    }
    let body = serde_json::to_vec(message)
        .map_err(|_| KbsError::Evidence(format!("the message to {path} cannot be written")))?;
    Ok(Exchange {
        method: Method::POST,
        path: path.to_owned(),
        headers,
        body,
        limit,
    })
}
