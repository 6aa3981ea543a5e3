//! From HTTP requests to answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{COOKIE, DATE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use proplet_hal::TeeName;
use proplet_jose::jwe;
use proplet_kbs::protocol::{Attestation, Request as Auth, SESSION_COOKIE, TeePublicKey, VERSION};
use proplet_types::ResourceUri;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::watch;

use super::administer::administer;
use super::answer::Answer;
use super::attest::appraise;
use super::exchange::{Asked, bearer};
use super::fault::Endpoint;
use super::refusal::Refusal;
use super::request::ResourceRequest;
use super::service::attestation;
use super::state::{Session, State};

/// Trustee's default `payload_request_size`.
const MAX_BODY_BYTES: usize = 2 << 20;

const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// The names that Trustee knows.
const TEES: [&str; 14] = [
    "sample",
    "sampledevice",
    "tdx",
    "snp",
    "az-snp-vtpm",
    "az-tdx-vtpm",
    "sgx",
    "csv",
    "cca",
    "se",
    "hygondcu",
    "nvidia",
    "nvidia-dpu",
    "tpm",
];

/// Where the TEE key stands in a token.
const TEE_KEY: &str =
    "/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims/tee-pubkey";

pub(super) fn router(state: Arc<State>, stopped: watch::Receiver<bool>) -> Router {
    Router::new().fallback(move |request: Request| {
        let (state, mut stopped) = (state.clone(), stopped.clone());
        async move {
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            tokio::select! {
                response = answer(&state, request) => response,
                () = stop => status(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            }
        }
    })
}

async fn answer(state: &State, request: Request) -> Response<Body> {
    let now = state.now();
    let mut response = answer_undated(state, request).await;
    if let Ok(date) = HeaderValue::from_str(&http_date(now)) {
        // A recorded answer has the date of the recording.
        response.headers_mut().entry(DATE).or_insert(date);
    }
    response
}

async fn answer_undated(state: &State, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/healthz" {
        return Response::new(Body::empty());
    }
    let (path, endpoint, counter) = match parts.uri.path() {
        "/attestation" if parts.method == Method::POST => {
            let counter = &state.counters.passports;
            ("attestation".to_owned(), Endpoint::Service, counter)
        }
        path => {
            let Some(path) = path.strip_prefix("/kbs/v0/") else {
                return status(StatusCode::NOT_FOUND, "");
            };
            let (endpoint, counter) = classify(state, &parts.method, path);
            (path.to_owned(), endpoint, counter)
        }
    };
    counter.fetch_add(1, Ordering::SeqCst);
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return status(StatusCode::PAYLOAD_TOO_LARGE, "payload reached size limit");
    };
    let asked = Asked {
        method: parts.method,
        target: parts.uri.to_string(),
        path,
        headers: parts.headers,
        body: body.to_vec(),
    };
    state.remember(&asked);
    let fault = state.fault(endpoint);
    if let Some(fault) = &fault
        && let Some(response) = fault.instead().await
    {
        return response;
    }
    let result = match endpoint {
        Endpoint::Service => attestation(state, &asked),
        Endpoint::Auth => auth(state, &asked),
        Endpoint::Attest => attest(state, &asked),
        Endpoint::Resource => plugin(state, &asked),
        Endpoint::Admin => administer(state, &asked),
    };
    let good = result.is_ok();
    let reply = result.map_or_else(Refusal::into_reply, Answer::into_reply);
    let (response, body) = state.rewritten(&asked, reply).into_parts();
    match fault {
        Some(fault) if good => fault.spoil(response, body),
        _ => response.map(|()| Body::from(body)),
    }
}

fn classify<'a>(state: &'a State, method: &Method, path: &str) -> (Endpoint, &'a AtomicU64) {
    let counters = &state.counters;
    match (method, path) {
        (&Method::POST, "auth") => (Endpoint::Auth, &counters.auth),
        (&Method::POST, "attest") => (Endpoint::Attest, &counters.attest),
        (_, "resource-policy" | "attestation-policy" | "reference-value") => {
            (Endpoint::Admin, &counters.admin)
        }
        (&Method::GET, _) => (Endpoint::Resource, &counters.resources),
        _ => (Endpoint::Admin, &counters.admin),
    }
}

fn auth(state: &State, asked: &Asked) -> Result<Answer, Refusal> {
    let malformed = || Refusal::auth("deserialize Request");
    let request: Auth = serde_json::from_slice(&asked.body).map_err(|_| malformed())?;
    if !TEES.contains(&request.tee.as_str()) {
        return Err(malformed());
    }
    if request.version != VERSION {
        let mismatch = format!(
            "KBS Client Protocol Version Mismatch: expect ={VERSION} while the request is {}",
            request.version
        );
        return Err(Refusal::auth(&mismatch));
    }
    let (id, session) = state
        .begin_session(request.tee)
        .ok_or_else(|| Refusal::auth("no random bytes"))?;
    let challenge = json!({ "nonce": session.nonce, "extra-params": "" });
    Ok(Answer::json(&challenge).with(SET_COOKIE, cookie(&id, &session)))
}

fn attest(state: &State, asked: &Asked) -> Result<Answer, Refusal> {
    let id = session_id(&asked.headers).ok_or_else(|| Refusal::attest("no cookie"))?;
    let session = state
        .session(id)
        .ok_or_else(|| Refusal::attest("session not found"))?;
    let token = match &session.token {
        // As Trustee: a session that is attested keeps its token, whatever is sent.
        Some(token) => token.clone(),
        None => attest_anew(state, asked, &session)?,
    };
    state.mark_attested(id, &token);
    Ok(Answer::json(&json!({ "token": token })).with(SET_COOKIE, cookie(id, &session)))
}

fn attest_anew(state: &State, asked: &Asked, session: &Session) -> Result<String, Refusal> {
    let attestation: Attestation = serde_json::from_slice(&asked.body).map_err(Refusal::attest)?;
    if attestation.runtime_data.nonce != session.nonce {
        return Err(Refusal::attest("the nonce is not the session's"));
    }
    let (now, rules) = (state.now(), &state.rules);
    let tee: TeeName = session.tee.clone();
    let submods = appraise(
        attestation,
        tee,
        &state.trust,
        |verified| state.knows(verified),
        now,
    )?;
    let token = state
        .issuer()
        .issue(submods, now, rules.token_lifetime)
        .map_err(Refusal::attest)?;
    state.counters.attested.fetch_add(1, Ordering::SeqCst);
    Ok(token)
}

/// GET of a plugin. The order of checks is Trustee's: token, policy, plugin, JWE.
fn plugin(state: &State, asked: &Asked) -> Result<Answer, Refusal> {
    let (plugin, path) = asked.path.split_once('/').unwrap_or((&asked.path, ""));
    if plugin != "resource" {
        return Err(Refusal::new(
            "PluginNotFound",
            format!("Plugin {plugin} not found"),
        ));
    }
    let claims = token_claims(state, &asked.headers)?;
    let request = ResourceRequest {
        path,
        claims: &claims,
    };
    if !state.policy().allows(&request) {
        return Err(Refusal::denied());
    }
    let uri = ResourceUri::from_path(path).map_err(|_| Refusal::plugin())?;
    let bytes = state.resource(uri.path()).ok_or_else(Refusal::plugin)?;
    let sealed = seal(&bytes, &claims).ok_or_else(|| Refusal::new("JweError", "Jwe failed"))?;
    state.counters.released.fetch_add(1, Ordering::SeqCst);
    Ok(Answer::json(&sealed))
}

/// The claims of the session's token, or of the bearer's.
fn token_claims(state: &State, headers: &HeaderMap) -> Result<Value, Refusal> {
    let by_cookie = session_id(headers).and_then(|id| state.session(id)?.token);
    let token = match &by_cookie {
        Some(token) => token.as_str(),
        None => bearer(headers).ok_or_else(Refusal::token_not_found)?,
    };
    state.issuer().verify(token, state.now())
}

fn seal(bytes: &[u8], claims: &Value) -> Option<Value> {
    let key: TeePublicKey = serde_json::from_value(claims.pointer(TEE_KEY)?.clone()).ok()?;
    let jwe = jwe::encrypt(&[bytes], &[key.to_public_key().ok()?], &Map::new()).ok()?;
    serde_json::to_value(jwe).ok()
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    let mut pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    pairs.find_map(|cookies| {
        let mut pairs = cookies
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .find(|(name, _)| *name == SESSION_COOKIE)
            .map(|(_, id)| id)
    })
}

fn cookie(id: &str, session: &Session) -> String {
    format!(
        "{SESSION_COOKIE}={id}; Expires={}",
        http_date(session.expires)
    )
}

fn http_date(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(HTTP_DATE)
        .unwrap_or_default()
}

fn status(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}
