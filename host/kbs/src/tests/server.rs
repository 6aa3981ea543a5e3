//! An HTTP server that answers as a test says and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use proplet_jose::{b64, jwe};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::protocol::{Attestation, ERROR_TYPE_PREFIX};

/// A request as it arrived.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `auth`, `attest`, or `resource/…`.
    pub(super) fn endpoint(&self) -> &str {
        self.path.strip_prefix("/kbs/v0/").unwrap()
    }
}

/// An answer.
#[derive(Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(super) fn json(body: &Value) -> Self {
        Self::new(200, body.to_string())
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A refusal as a KBS words it.
    pub(super) fn error(variant: &str) -> Self {
        let body = json!({ "type": format!("{ERROR_TYPE_PREFIX}{variant}"), "detail": "words" });
        Self::new(401, body.to_string())
    }
}

/// A running server. It stops when dropped.
pub(super) struct Server {
    pub(super) url: String,
    log: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        let seen_log = log.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (answer, log) = (answer.clone(), seen_log.clone());
            async move {
                let (parts, body) = request.into_parts();
                let seen = Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.to_string(),
                    headers: parts.headers,
                    body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
                };
                log.lock().unwrap().push(seen.clone());
                let reply = answer(&seen);
                let mut response = Response::builder().status(reply.status);
                for (name, value) in &reply.headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(reply.body)).unwrap()
            }
        });
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, log, task }
    }

    pub(super) fn log(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    /// How often an endpoint was asked.
    pub(super) fn count(&self, endpoint: &str) -> usize {
        self.log()
            .iter()
            .filter(|seen| seen.endpoint().starts_with(endpoint))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A token that lasts `seconds`. Nobody verifies it here.
pub(super) fn token(seconds: u64) -> String {
    let payload = json!({ "iat": 1000, "exp": 1000 + seconds }).to_string();
    format!("e30.{}.AAAA", b64::encode(payload.as_bytes()))
}

pub(super) fn challenge() -> Reply {
    let body =
        json!({ "nonce": "wPv5T97AKclzuJGIx5JjadfAZrYl/S9+W5FSlgOywY0=", "extra-params": "" });
    Reply::json(&body).with("set-cookie", "kbs-session-id=c00c1e")
}

/// A KBS that accepts everything: it remembers the TEE key, and answers with a resource sealed to it.
#[derive(Clone, Default)]
pub(super) struct Amiable {
    key: Arc<Mutex<Option<proplet_jose::jwk::PublicKey>>>,
    seconds: u64,
}

impl Amiable {
    /// With tokens that last `seconds`.
    pub(super) fn lasting(seconds: u64) -> Self {
        Self {
            key: Arc::default(),
            seconds,
        }
    }

    pub(super) fn answer(&self, seen: &Seen) -> Reply {
        match seen.endpoint() {
            "auth" => challenge(),
            "attest" => {
                let attestation: Attestation = serde_json::from_slice(&seen.body).unwrap();
                let key = attestation.runtime_data.tee_pubkey.to_public_key().unwrap();
                *self.key.lock().unwrap() = Some(key);
                Reply::json(&json!({ "token": token(self.seconds) }))
            }
            _ => self.sealed(b"the resource"),
        }
    }

    pub(super) fn sealed(&self, plaintext: &[u8]) -> Reply {
        let key = self.key.lock().unwrap().clone().unwrap();
        let jwe = jwe::encrypt(&[plaintext], &[key], &Map::new()).unwrap();
        Reply::json(&serde_json::to_value(jwe).unwrap())
    }
}
