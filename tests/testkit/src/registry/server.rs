//! The distribution API (OCI distribution specification 1.1, sections "Pull" and "Push").

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract;
use axum::http::header::{
    AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};

use super::fault::Target;
use super::quirk::{Quirk, reformat};
use super::state::State;
use super::store::MAX_BLOB_BYTES;

const MAX_MANIFEST_BYTES: usize = 4 << 20;
const DIGEST_HEADER: &str = "docker-content-digest";

pub(super) fn router(state: Arc<State>) -> Router {
    // Repository names hold slashes, so paths are taken apart by hand.
    Router::new().fallback(handle).with_state(state)
}

async fn handle(
    extract::State(state): extract::State<Arc<State>>,
    request: Request<Body>,
) -> Response<Body> {
    state.requests.send_modify(|requests| *requests += 1);
    let path = request.uri().path().to_owned();
    let authorization = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    if path == "/token" {
        let query = request.uri().query().unwrap_or_default().to_owned();
        state.token_queries().push(query);
        return token(&state, authorization.as_deref(), request).await;
    }
    let Some(path) = path.strip_prefix("/v2") else {
        return failure(StatusCode::NOT_FOUND, "UNSUPPORTED");
    };
    if !state.gate.admits(authorization.as_deref()) {
        count(&state.counters.refused);
        let mut response = failure(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        let challenge = state.challenge().clone();
        let challenge = challenge.unwrap_or_else(|| state.gate.challenge());
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        return response;
    }
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return empty(StatusCode::OK);
    }
    let method = request.method().clone();
    let writes = !matches!(method, Method::GET | Method::HEAD);
    let busy = writes.then(|| state.quirks().busy()).flatten();
    if let Some((status, retry_after)) = busy {
        count(&state.counters.busy);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let words = state.quirks().find(|quirk| match quirk {
            Quirk::Words(words) => Some(words.clone()),
            _ => None,
        });
        let mut response = failure(status, words.as_deref().unwrap_or("BUSY"));
        if let Some(wait) = retry_after {
            let seconds = HeaderValue::from(wait.as_secs());
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        return response;
    }
    if let Some((repository, id)) = path.rsplit_once("/blobs/uploads/") {
        return upload(&state, &method, repository, id, request).await;
    }
    if let Some((_, digest)) = path.rsplit_once("/blobs/") {
        let range = request.headers().get(RANGE).and_then(|v| v.to_str().ok());
        return blob(&state, &method, digest, range.map(str::to_owned)).await;
    }
    if let Some((repository, reference)) = path.rsplit_once("/manifests/") {
        return manifest(&state, &method, repository, reference, request).await;
    }
    failure(StatusCode::NOT_FOUND, "UNSUPPORTED")
}

async fn token(
    state: &State,
    authorization: Option<&str>,
    request: Request<Body>,
) -> Response<Body> {
    let form = to_bytes(request.into_body(), MAX_MANIFEST_BYTES).await;
    let form = form.unwrap_or_default();
    let form = std::str::from_utf8(&form).unwrap_or_default();
    let Some(token) = state.gate.token(authorization, form) else {
        count(&state.counters.refused);
        return failure(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    };
    count(&state.counters.tokens);
    let body = Bytes::from(json!({ "token": token, "expires_in": 300 }).to_string());
    let response = with(
        StatusCode::OK,
        &[(CONTENT_TYPE.as_str(), "application/json")],
        (),
    );
    match state.fault(|target| *target == Target::Tokens) {
        Some(fault) => fault.answer(response, body).await,
        None => response.map(|()| Body::from(body)),
    }
}

async fn blob(
    state: &State,
    method: &Method,
    digest: &str,
    range: Option<String>,
) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    }
    let Some(bytes) = state.store().blob(digest) else {
        return failure(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
    };
    let headers = [
        (CONTENT_TYPE.as_str(), "application/octet-stream"),
        (DIGEST_HEADER, digest),
    ];
    if *method == Method::HEAD {
        // The server announces the length of a body that it then leaves out.
        return with(StatusCode::OK, &headers, Body::from(bytes));
    }
    count(&state.counters.blobs_read);
    let fault = state.fault(|target| match target {
        Target::Blobs => true,
        Target::Blob(of) => of == digest,
        Target::Manifests | Target::Tokens => false,
    });
    if let Some(fault) = fault {
        return fault
            .answer(with(StatusCode::OK, &headers, ()), bytes)
            .await;
    }
    match range.map(|range| slice(&range, bytes.len())) {
        None => with(StatusCode::OK, &headers, Body::from(bytes)),
        Some(None) => failure(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
        Some(Some((start, end))) => {
            count(&state.counters.parts_read);
            let mut response = with(
                StatusCode::PARTIAL_CONTENT,
                &headers,
                Body::from(bytes.slice(start..end)),
            );
            let of = format!("bytes {start}-{}/{}", end.saturating_sub(1), bytes.len());
            if let Ok(of) = HeaderValue::from_str(&of) {
                response.headers_mut().insert(CONTENT_RANGE, of);
            }
            response
        }
    }
}

/// Start and end (exclusive) of a `bytes=a-b` or `bytes=a-` range within `length`.
fn slice(range: &str, length: usize) -> Option<(usize, usize)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = match last {
        "" => length,
        last => last.parse::<usize>().ok()?.saturating_add(1).min(length),
    };
    (start < end).then_some((start, end))
}

async fn manifest(
    state: &State,
    method: &Method,
    repository: &str,
    reference: &str,
    request: Request<Body>,
) -> Response<Body> {
    match *method {
        Method::GET | Method::HEAD => {
            let Some(manifest) = state.store().manifest(repository, reference) else {
                return failure(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN");
            };
            let headers = [
                (CONTENT_TYPE.as_str(), manifest.media_type.as_str()),
                (DIGEST_HEADER, manifest.digest.as_str()),
            ];
            if *method == Method::HEAD {
                return with(StatusCode::OK, &headers, Body::from(manifest.bytes));
            }
            count(&state.counters.manifests_read);
            let response = with(StatusCode::OK, &headers, ());
            match state.fault(|target| *target == Target::Manifests) {
                Some(fault) => fault.answer(response, manifest.bytes).await,
                None => response.map(|()| Body::from(manifest.bytes)),
            }
        }
        Method::PUT => put_manifest(state, repository, reference, request).await,
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
    }
}

async fn put_manifest(
    state: &State,
    repository: &str,
    reference: &str,
    request: Request<Body>,
) -> Response<Body> {
    let media_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let Ok(bytes) = to_bytes(request.into_body(), MAX_MANIFEST_BYTES).await else {
        return failure(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID");
    };
    let Ok(parsed) = serde_json::from_slice::<Value>(&bytes) else {
        return failure(StatusCode::BAD_REQUEST, "MANIFEST_INVALID");
    };
    let layers = parsed
        .get("layers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for descriptor in layers.chain(parsed.get("config")) {
        let digest = descriptor
            .get("digest")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if state.store().blob(digest).is_none() {
            return failure(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN");
        }
    }
    if reference.contains(':') && super::store::sha256(&bytes) != reference {
        return failure(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    }
    let digest = state
        .store()
        .insert_manifest(repository, reference, &media_type, bytes.clone());
    count(&state.counters.manifests_written);
    if state.has(&Quirk::Reformat) {
        let mut store = state.store();
        for name in [reference, &digest] {
            store.insert_manifest(repository, name, &media_type, reformat(&bytes).into());
        }
    }
    if state.has(&Quirk::NoManifestAddress) {
        return empty(StatusCode::CREATED);
    }
    let location = format!("/v2/{repository}/manifests/{digest}");
    with(
        StatusCode::CREATED,
        &[(LOCATION.as_str(), &location), (DIGEST_HEADER, &digest)],
        Body::empty(),
    )
}

async fn upload(
    state: &State,
    method: &Method,
    repository: &str,
    id: &str,
    request: Request<Body>,
) -> Response<Body> {
    let digest = request
        .uri()
        .query()
        .and_then(digest_of)
        .unwrap_or_default();
    let start = request
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|v| v.to_str().ok())
        .and_then(|range| {
            range
                .trim_start_matches("bytes ")
                .split('-')
                .next()?
                .parse()
                .ok()
        });
    let Ok(chunk) = to_bytes(request.into_body(), MAX_BLOB_BYTES).await else {
        return failure(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID");
    };
    if method == Method::PATCH {
        let status = state.quirks().find(|quirk| match quirk {
            Quirk::NoParts(status) => StatusCode::from_u16(*status).ok(),
            _ => None,
        });
        if let Some(status) = status {
            return failure(status, "UNSUPPORTED");
        }
    }
    let last_part_only = state.has(&Quirk::LastPartOnly);
    let kept = state.quirks().find(|quirk| match quirk {
        Quirk::LastPartOnly => Some(usize::MAX),
        Quirk::Cut(length) => Some(*length),
        _ => None,
    });
    let mut store = state.store();
    let id = match (method, id) {
        (&Method::POST, "") => match store.open_upload() {
            Some(id) => id,
            None => return failure(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        },
        (&Method::PATCH | &Method::PUT, id) => id.to_owned(),
        _ => return failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
    };
    if last_part_only && !chunk.is_empty() {
        store.restart_upload(&id);
    }
    let Some(length) = store.append(&id, start, &chunk) else {
        return failure(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID");
    };
    // A digest ends the upload: with the PUT, or with the POST of a blob in one piece.
    if method == Method::PUT || !digest.is_empty() {
        let closed = match kept {
            Some(length) => store.close_unseen(&id, &digest, length),
            None => store.close_upload(&id, &digest),
        };
        if !closed {
            return failure(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
        }
        count(&state.counters.blobs_written);
        let location = format!("/v2/{repository}/blobs/{digest}");
        return with(
            StatusCode::CREATED,
            &[(LOCATION.as_str(), &location), (DIGEST_HEADER, &digest)],
            Body::empty(),
        );
    }
    let location = state.quirks().find(|quirk| match quirk {
        Quirk::UploadAddress(address) => Some(address.clone()),
        _ => None,
    });
    let range = format!("0-{}", length.saturating_sub(1));
    let location = match location {
        None => format!("/v2/{repository}/blobs/uploads/{id}"),
        Some(Some(address)) => address.replace("{id}", &id),
        Some(None) => {
            let headers = [(RANGE.as_str(), range.as_str())];
            return with(StatusCode::ACCEPTED, &headers, Body::empty());
        }
    };
    with(
        StatusCode::ACCEPTED,
        &[(LOCATION.as_str(), &location), (RANGE.as_str(), &range)],
        Body::empty(),
    )
}

/// The `digest` of a query; colons come escaped or not.
fn digest_of(query: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("digest="))?;
    Some(value.replace("%3A", ":").replace("%3a", ":"))
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn empty(status: StatusCode) -> Response<Body> {
    with(status, &[], Body::empty())
}

fn failure(status: StatusCode, code: &str) -> Response<Body> {
    let body = json!({ "errors": [{ "code": code, "message": code }] }).to_string();
    with(
        status,
        &[(CONTENT_TYPE.as_str(), "application/json")],
        Body::from(body),
    )
}

fn with<B>(status: StatusCode, headers: &[(&str, &str)], body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (
            axum::http::HeaderName::try_from(*name),
            HeaderValue::from_str(value),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
