//! Ways in which a registry can be told to misbehave.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

/// Which answers a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every manifest that is read.
    Manifests,
    /// Every blob that is read.
    Blobs,
    /// The blob of this digest.
    Blob(String),
    /// The token service.
    Tokens,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// One bit of the body is flipped, counted from the first bit of the first byte; beyond the end
    /// it counts from the start again.
    FlipBit(usize),
    /// The body is cut to this many bytes and announced as that long.
    Truncate(usize),
    /// The announced length is right and the connection breaks after this many bytes.
    Break(usize),
    /// The body has no announced length and ends after this many bytes.
    Cut(usize),
    /// A text in the body is replaced.
    Replace(String, String),
    /// The announced length is another one; if it is larger, the rest never comes.
    ContentLength(u64),
    /// The body has no announced length and this many bytes more than it should.
    Longer(usize),
    /// The body has no announced length and no end.
    Endless,
    /// The answer is only this status.
    Status(u16),
    /// The answer is a status with a `Retry-After` header.
    Later(u16, String),
    /// The answer is 401 with this `WWW-Authenticate` header.
    Challenge(String),
    /// The answer has this body.
    Body(Bytes),
    /// The answer has a further header.
    Header(&'static str, String),
    /// The answer is a redirect to this URL.
    Redirect(String),
    /// There is no answer, for longer than anybody waits.
    Silence,
}

impl Fault {
    /// Answers with `body`, as wrongly as this says.
    pub(super) async fn answer(self, mut response: Response<()>, body: Bytes) -> Response<Body> {
        match self {
            Self::FlipBit(bit) => {
                let mut bytes = body.to_vec();
                let index = (bit / 8).checked_rem(bytes.len()).unwrap_or_default();
                if let Some(byte) = bytes.get_mut(index) {
                    *byte ^= 1 << (bit % 8);
                }
                response.map(|()| Body::from(bytes))
            }
            Self::Truncate(length) => {
                let kept = body.slice(..length.min(body.len()));
                response.map(|()| Body::from(kept))
            }
            Self::Break(length) => {
                response
                    .headers_mut()
                    .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                let kept = body.slice(..length.min(body.len()));
                response.map(|()| {
                    // What is there is sent out while the body has nothing more to give.
                    let broken = async {
                        tokio::task::yield_now().await;
                        Err(std::io::Error::other("cut by a fault"))
                    };
                    Body::from_stream(stream::iter([Ok(kept)]).chain(stream::once(broken)))
                })
            }
            Self::Cut(length) => {
                let kept = body.slice(..length.min(body.len()));
                let kept = stream::iter([Ok::<_, std::io::Error>(kept)]);
                response.map(|()| Body::from_stream(kept))
            }
            Self::Replace(from, to) => {
                let text = String::from_utf8_lossy(&body).replace(&from, &to);
                response.map(|()| Body::from(text))
            }
            Self::ContentLength(length) => {
                response
                    .headers_mut()
                    .insert(CONTENT_LENGTH, HeaderValue::from(length));
                let body = stream::iter([Ok::<_, std::io::Error>(body)]);
                response.map(|()| Body::from_stream(body.chain(stream::pending())))
            }
            Self::Longer(more) => {
                let parts = [
                    Ok::<_, std::io::Error>(body),
                    Ok(Bytes::from(vec![0; more])),
                ];
                response.map(|()| Body::from_stream(stream::iter(parts)))
            }
            Self::Endless => {
                let first = stream::iter([Ok::<_, std::io::Error>(body)]);
                let more = stream::repeat(Bytes::from_static(&[0; 16 * 1024])).map(Ok);
                response.map(|()| Body::from_stream(first.chain(more)))
            }
            Self::Status(status) => with_status(response, status).map(|()| Body::empty()),
            Self::Later(status, when) => {
                with_header(with_status(response, status), RETRY_AFTER.as_str(), &when)
                    .map(|()| Body::empty())
            }
            Self::Challenge(challenge) => with_header(
                with_status(response, 401),
                WWW_AUTHENTICATE.as_str(),
                &challenge,
            )
            .map(|()| Body::empty()),
            Self::Body(bytes) => response.map(|()| Body::from(bytes)),
            Self::Header(name, value) => {
                with_header(response, name, &value).map(|()| Body::from(body))
            }
            Self::Redirect(url) => {
                *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                if let Ok(url) = HeaderValue::from_str(&url) {
                    response.headers_mut().insert(LOCATION, url);
                }
                response.map(|()| Body::empty())
            }
            Self::Silence => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                response.map(|()| Body::empty())
            }
        }
    }
}

fn with_status(mut response: Response<()>, status: u16) -> Response<()> {
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn with_header(mut response: Response<()>, name: &'static str, value: &str) -> Response<()> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
