//! What is private otherwise, for the fuzzers in `fuzz/`.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderValue, SET_COOKIE};
use serde_json::Value;

use crate::protocol::{Attestation, from_json};
use crate::token;

/// Whether a key broker's request for a session's key reads as one.
pub fn attestation(body: &[u8]) -> bool {
    from_json::<Attestation>("attestation", body).is_ok()
}

/// What is read from a token: whether it is sent on, how long it lasts, what it says of the VM.
pub fn token(text: &str) -> (bool, Option<Duration>, Option<Value>) {
    let lifetime = token::token_lifetime(text);
    (token::is_token(text), lifetime, token::appraisal(text))
}

/// The cookie of a session and how long it lasts, from the headers `Set-Cookie` and `Date`.
pub fn session(cookie: &[u8], date: &[u8]) -> Option<(String, Option<Duration>)> {
    let mut headers = HeaderMap::new();
    headers.insert(SET_COOKIE, HeaderValue::from_bytes(cookie).ok()?);
    headers.insert(DATE, HeaderValue::from_bytes(date).ok()?);
    let cookie = token::session_cookie(&headers)?;
    Some((cookie.to_string(), token::session_lifetime(&headers)))
}
