//! Ways in which a key broker can be told to misbehave.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, LOCATION};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use proplet_jose::b64;
use serde_json::Value;

use super::exchange::Reply;

/// Which requests a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The first message of a handshake.
    Auth,
    /// The second one.
    Attest,
    /// A resource that is read.
    Resource,
    /// Whatever only administrators may do.
    Admin,
    /// The attestation service.
    Service,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before any of the answer is there.
    Drop,
    /// The connection breaks in the middle of a good answer.
    Truncate,
    /// There is no answer until the broker stops.
    Silence,
    /// Only this status, with a body that no KBS would send.
    Status(u16),
    /// Status 200 and bytes that are no JSON.
    Garbage,
    /// Status 200 and a JSON text of about this many bytes.
    Oversize(usize),
    /// A redirect to this URL.
    Redirect(String),
    /// A refusal with this error type, such as `PolicyDeny`.
    Refuse(&'static str),
    /// A good answer whose JWE header names this `alg`.
    Algorithm(&'static str),
    /// A good answer whose JWE ciphertext has one bit flipped.
    Tampered,
}

impl Fault {
    /// The answer in place of the good one. `None` when the good one is needed to make it.
    pub(super) async fn instead(&self) -> Option<Response<Body>> {
        let with = |status: StatusCode, body: Body| {
            let mut response = Response::new(body);
            *response.status_mut() = status;
            response
        };
        Some(match self {
            Self::Drop => with(StatusCode::OK, broken(Bytes::new())),
            Self::Silence => std::future::pending().await,
            Self::Status(status) => {
                let status =
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                with(status, Body::from("<html>out of order</html>"))
            }
            Self::Garbage => with(StatusCode::OK, Body::from(vec![0xfe; 64])),
            Self::Oversize(size) => {
                let text = format!("{{\"token\":\"{}\"}}", "A".repeat(*size));
                with(StatusCode::OK, Body::from(text))
            }
            Self::Redirect(url) => {
                let mut response = with(StatusCode::TEMPORARY_REDIRECT, Body::empty());
                if let Ok(url) = HeaderValue::from_str(url) {
                    response.headers_mut().insert(LOCATION, url);
                }
                response
            }
            Self::Refuse(variant) => Reply::error(variant, "injected").into_response(),
            Self::Truncate | Self::Algorithm(_) | Self::Tampered => return None,
        })
    }

    /// Spoils a good answer.
    pub(super) fn spoil(&self, response: Response<()>, body: Vec<u8>) -> Response<Body> {
        match self {
            Self::Truncate => {
                let half = body.get(..body.len() / 2).unwrap_or_default().to_vec();
                let mut response = response.map(|()| broken(half.into()));
                response
                    .headers_mut()
                    .insert(CONTENT_LENGTH, body.len().into());
                response
            }
            Self::Algorithm(alg) => {
                response.map(|()| Body::from(with_algorithm(&body, alg).unwrap_or(body)))
            }
            Self::Tampered => response.map(|()| Body::from(tampered(&body).unwrap_or(body))),
            _ => response.map(|()| Body::from(body)),
        }
    }
}

/// A body that ends in a broken connection.
fn broken(first: Bytes) -> Body {
    let end = std::io::Error::other("an injected fault");
    Body::from_stream(stream::iter([Ok(first), Err(end)]))
}

fn with_algorithm(jwe: &[u8], alg: &str) -> Option<Vec<u8>> {
    let mut jwe: Value = serde_json::from_slice(jwe).ok()?;
    let protected = b64::decode(jwe.get("protected")?.as_str()?).ok()?;
    let mut header: Value = serde_json::from_slice(&protected).ok()?;
    *header.get_mut("alg")? = alg.into();
    *jwe.get_mut("protected")? = b64::encode(header.to_string().as_bytes()).into();
    Some(jwe.to_string().into_bytes())
}

fn tampered(jwe: &[u8]) -> Option<Vec<u8>> {
    let mut jwe: Value = serde_json::from_slice(jwe).ok()?;
    let mut ciphertext = b64::decode(jwe.get("ciphertext")?.as_str()?).ok()?;
    *ciphertext.first_mut()? ^= 1;
    *jwe.get_mut("ciphertext")? = b64::encode(&ciphertext).into();
    Some(jwe.to_string().into_bytes())
}
