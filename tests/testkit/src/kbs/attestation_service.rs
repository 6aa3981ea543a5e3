//! The attestation service alone, as Trustee's `restful-as` serves it: `POST /attestation`.
//!
//! It verifies evidence under the test PKI, recomputes the report data from structured runtime data, compares
//! init-data, and gives a signed token with the claims where Trustee has them. It keeps what it was sent, for
//! tests to look at. Refusals are status 500 and a line of text, as Trustee's are.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use proplet_hal::verify::TrustPolicy;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::attest::appraise_structured;
use super::token::Issuer;

/// A running attestation service. It stops when dropped.
pub struct DevAttestationService {
    address: SocketAddr,
    state: Arc<Service>,
    task: JoinHandle<()>,
}

struct Service {
    trust: TrustPolicy,
    issuer: Issuer,
    asked: Mutex<Vec<Value>>,
    /// What it says in place of a token, when it is broken.
    broken: Mutex<Option<String>>,
}

impl DevAttestationService {
    /// Starts a service that trusts the test PKI, on plain http.
    ///
    /// # Errors
    /// When no loopback port can be had, or there are no random bytes for the signing key.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Service {
            trust: crate::tee::test_trust(),
            issuer: Issuer::new().map_err(io::Error::other)?,
            asked: Mutex::default(),
            broken: Mutex::default(),
        });
        let router = Router::new()
            .route("/attestation", post(attestation))
            .with_state(Arc::clone(&state));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the development attestation service stopped");
            }
        });
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Its base address, with scheme and port.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The verification requests so far, in order.
    pub fn requests(&self) -> Vec<Value> {
        lock(&self.state.asked).clone()
    }

    /// Answers with this text from now on, status 200, whatever it is sent.
    pub fn break_down(&self, answer: &str) {
        *lock(&self.state.broken) = Some(answer.to_owned());
    }

    /// The claims of a token, when this service signed it.
    pub fn claims(&self, token: &str) -> Option<Value> {
        self.state.issuer.verify(token, SystemTime::now()).ok()
    }
}

impl Drop for DevAttestationService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn attestation(State(service): State<Arc<Service>>, body: String) -> (StatusCode, String) {
    if let Some(answer) = lock(&service.broken).clone() {
        return (StatusCode::OK, answer);
    }
    match service.token(&body) {
        Ok(token) => (StatusCode::OK, token),
        Err(words) => (StatusCode::INTERNAL_SERVER_ERROR, words),
    }
}

impl Service {
    fn token(&self, body: &str) -> Result<String, String> {
        let mut asked: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let requests = asked
            .get_mut("verification_requests")
            .and_then(Value::as_array_mut)
            .ok_or("no verification requests")?;
        let (Some(request), true) = (requests.pop(), requests.is_empty()) else {
            return Err("one verification request is taken".to_owned());
        };
        lock(&self.asked).push(request.clone());
        let now = SystemTime::now();
        let submods = appraise_structured(&request, &self.trust, now)
            .map_err(|error| format!("verifying evidence: {error}"))?;
        self.issuer
            .issue(submods, now, Duration::from_secs(300))
            .map_err(|error| error.to_string())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
