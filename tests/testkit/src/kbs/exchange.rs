//! What a broker is asked and what it answers, for tests that look at the bytes or change them.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use proplet_kbs::protocol::{ERROR_TYPE_PREFIX, ErrorBody};
use serde_json::Value;

/// A request as it arrived.
#[derive(Clone)]
pub struct Asked {
    pub(super) method: Method,
    /// Path and query, as sent.
    pub(super) target: String,
    /// Below `/kbs/v0/`, without a query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Asked {
    /// The method, such as `GET`.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Path and query, as sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// `auth`, `attest`, or `resource/…`: the path below `/kbs/v0/`. `attestation` of the attestation service.
    pub fn endpoint(&self) -> &str {
        &self.path
    }

    /// The first header of this name, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as JSON; null where it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Without headers and body, which hold credentials and secrets.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Status 200 with this body.
    pub fn json(body: &Value) -> Self {
        Self::new(200, body.to_string()).with("content-type", "application/json")
    }

    /// A refusal as a KBS words it, with an error type such as `PolicyDeny`.
    pub fn error(variant: &str, detail: &str) -> Self {
        let status = match variant {
            "InvalidRequestPath" | "PluginNotFound" => 404,
            _ => 401,
        };
        let body = ErrorBody {
            error_type: format!("{ERROR_TYPE_PREFIX}{variant}"),
            detail: detail.to_owned(),
        };
        Self::new(status, serde_json::to_vec(&body).unwrap_or_default())
    }

    /// The same answer with one more header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Status and headers, with the body apart.
    pub(super) fn into_parts(self) -> (Response<()>, Vec<u8>) {
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            let header = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(&value),
            );
            if let (Ok(name), Ok(value)) = header {
                response.headers_mut().append(name, value);
            }
        }
        (response, self.body)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let (response, body) = self.into_parts();
        response.map(|()| Body::from(body))
    }
}

/// Sees each request and the answer that the broker has for it, and says what is sent instead.
pub(super) type Rewrite = Arc<dyn Fn(&Asked, Reply) -> Reply + Send + Sync>;

/// The token that a request shows.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
        .map(str::trim)
}
