//! What the client reads from tokens and cookies: how long they last, and nothing else.
//!
//! The token is not verified here. It is the KBS's own, given back to the KBS, and a lie about its
//! lifetime costs one refused request.

use std::time::Duration;

use proplet_jose::b64;
use reqwest::header::{DATE, HeaderMap, SET_COOKIE};
use serde::Deserialize;
use serde_json::Value;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use zeroize::Zeroizing;

use crate::protocol::SESSION_COOKIE;

/// The longest token that is sent as a header. Servers refuse larger ones before they look at them.
pub(crate) const MAX_BEARER_BYTES: usize = 64 * 1024;

/// The longest cookie value that is replayed. A KBS sends 32 hexadecimal digits.
const MAX_COOKIE_BYTES: usize = 256;

/// The date of HTTP headers and cookies, RFC 9110 section 5.6.7.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

#[derive(Deserialize)]
struct Times {
    iat: Option<f64>,
    exp: Option<f64>,
}

/// How long a token lasts from its issue. `None` when it does not say; zero when it ends before it
/// begins.
pub(crate) fn token_lifetime(token: &str) -> Option<Duration> {
    let payload = Zeroizing::new(b64::decode(token.split('.').nth(1)?).ok()?);
    let times: Times = serde_json::from_slice(&payload).ok()?;
    let seconds = times.exp? - times.iat?;
    if seconds <= 0.0 {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// What a token says of the VM, without what belongs to its session: report data, and what that is over. None when it
/// says nothing of a CPU.
pub(crate) fn appraisal(token: &str) -> Option<Value> {
    let payload = Zeroizing::new(b64::decode(token.split('.').nth(1)?).ok()?);
    let mut claims: Value = serde_json::from_slice(&payload).ok()?;
    let mut cpu = claims.pointer_mut("/submods/cpu0")?.take();
    leave_session_out(&mut cpu);
    cpu.is_object().then_some(cpu)
}

/// The parser has bounded the depth.
fn leave_session_out(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| name != "report_data" && name != "runtime_data_claims");
            members.values_mut().for_each(leave_session_out);
        }
        Value::Array(values) => values.iter_mut().for_each(leave_session_out),
        _ => {}
    }
}

/// Whether a text can be a token: three dotted parts of base64url, so that it fits into a header.
pub(crate) fn is_token(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.split('.').count() == 3 && text.split('.').all(part)
}

/// The session cookie among the answer's headers.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let cookie = last_session_cookie(headers)?;
    let value = cookie.split(';').next()?.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=');
    let good = !value.is_empty() && value.len() <= MAX_COOKIE_BYTES && value.bytes().all(plain);
    good.then(|| Zeroizing::new(value.to_owned()))
}

/// How long the session lasts, by the server's own clock: `Expires` of the cookie less `Date` of the
/// answer. `None` when one of them is missing or malformed; zero when it is over.
pub(crate) fn session_lifetime(headers: &HeaderMap) -> Option<Duration> {
    let cookie = last_session_cookie(headers)?;
    let expires = cookie.split(';').skip(1).find_map(|attribute| {
        let (name, value) = attribute.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("expires")
            .then(|| value.trim())
    })?;
    let now = http_date(headers.get(DATE)?.to_str().ok()?)?;
    let left = http_date(expires)? - now;
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
}

/// Everything after `kbs-session-id=` of the last such cookie.
fn last_session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(SET_COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok()?.trim().strip_prefix(SESSION_COOKIE))
        .filter_map(|rest| rest.strip_prefix('='))
        .next_back()
}

fn http_date(text: &str) -> Option<PrimitiveDateTime> {
    PrimitiveDateTime::parse(text, HTTP_DATE).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.AAAA", b64::encode(payload.as_bytes()))
    }

    fn headers(cookie: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(SET_COOKIE, HeaderValue::from_str(cookie).unwrap());
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        }
        headers
    }

    #[test]
    fn appraisals_are_the_same_but_for_the_session() {
        let of = |status: &str, svn: u8, session: u8| {
            appraisal(&token(&format!(
                "{{\"iat\":{session},\"submods\":{{\"cpu0\":{{\"ear.status\":\"{status}\",\"evidence\":{{\
                 \"report_data\":\"{session}\",\"runtime_data_claims\":{{\"nonce\":\"{session}\"}},\
                 \"snp\":{{\"svn\":{svn},\"report_data\":\"{session}\"}}}}}}}}}}"
            )))
            .unwrap()
        };
        assert_eq!(of("affirming", 3, 1), of("affirming", 3, 2));
        assert_ne!(of("affirming", 3, 1), of("contraindicated", 3, 1));
        assert_ne!(of("affirming", 3, 1), of("affirming", 2, 1));
        for nothing in [
            "{}",
            "{\"submods\":{}}",
            "{\"submods\":{\"cpu0\":1}}",
            "[]",
            "x",
        ] {
            assert_eq!(appraisal(&token(nothing)), None, "{nothing}");
        }
        assert_eq!(appraisal(""), None);
    }

    #[test]
    fn a_token_lasts_from_its_issue_to_its_end() {
        let of = |payload| token_lifetime(&token(payload));
        assert_eq!(
            of("{\"iat\":1795340914,\"exp\":1795341214}"),
            Some(Duration::from_secs(300))
        );
        assert_eq!(
            of("{\"iat\":10.5,\"exp\":12}"),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(of("{\"iat\":10,\"exp\":10}"), Some(Duration::ZERO));
        assert_eq!(of("{\"iat\":10,\"exp\":1}"), Some(Duration::ZERO));
        for none in [
            "{}",
            "{\"exp\":1}",
            "{\"iat\":1}",
            "[]",
            "x",
            "{\"iat\":\"1\",\"exp\":2}",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of("{\"iat\":0,\"exp\":1e300}"), None);
        assert_eq!(token_lifetime("no token"), None);
        assert_eq!(token_lifetime(""), None);
    }

    #[test]
    fn a_session_lasts_by_the_clock_of_the_server() {
        let date = Some("Sun, 22 Nov 2026 09:48:34 GMT");
        let cookie = "kbs-session-id=abc; Expires=Sun, 22 Nov 2026 09:53:34 GMT";
        assert_eq!(
            session_lifetime(&headers(cookie, date)),
            Some(Duration::from_secs(300))
        );
        assert_eq!(session_lifetime(&headers(cookie, None)), None);
        let past = "kbs-session-id=abc; expires=Sun, 22 Nov 2026 09:43:34 GMT";
        assert_eq!(session_lifetime(&headers(past, date)), Some(Duration::ZERO));
        for none in [
            "kbs-session-id=abc",
            "kbs-session-id=abc; Expires=soon",
            "x=y; Expires=x",
        ] {
            assert_eq!(session_lifetime(&headers(none, date)), None, "{none}");
        }
    }

    #[test]
    fn the_cookie_is_taken_from_its_pair() {
        let of = |cookie| session_cookie(&headers(cookie, None)).map(|c| c.to_string());
        assert_eq!(
            of("kbs-session-id=0a1b; Expires=x").as_deref(),
            Some("0a1b")
        );
        assert_eq!(of("kbs-session-id=0a1b").as_deref(), Some("0a1b"));
        let long = format!("kbs-session-id={}", "a".repeat(MAX_COOKIE_BYTES + 1));
        for none in [
            "kbs-session-id=",
            "kbs-session-idx=1",
            "other=1",
            "kbs-session-id=a b",
            &long,
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        let mut two = headers("kbs-session-id=old", None);
        two.append(
            SET_COOKIE,
            HeaderValue::from_static("kbs-session-id=new; Path=/"),
        );
        assert_eq!(session_cookie(&two).unwrap().as_str(), "new");
    }

    #[test]
    fn tokens_fit_into_a_header() {
        assert!(is_token("a.b.c"));
        for bad in [
            "",
            "a",
            "a.b",
            "a.b.c.d",
            "a..c",
            "a.b.c\r\nx: y",
            "a.b.ü",
            "a.b.=",
        ] {
            assert!(!is_token(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,64}", payload in "\\PC{0,64}") {
            let _ = token_lifetime(&text);
            let _ = token_lifetime(&token(&payload));
            let _ = is_token(&text);
            let _ = http_date(&text);
            if let Ok(value) = HeaderValue::from_str(&text) {
                let mut headers = HeaderMap::new();
                headers.insert(SET_COOKIE, value.clone());
                headers.insert(DATE, value);
                let _ = (session_cookie(&headers), session_lifetime(&headers));
            }
        }

        #[test]
        fn any_lifetime_is_read_back(iat in 0u32.., seconds in 1u32..) {
            let exp = u64::from(iat) + u64::from(seconds);
            let text = token(&format!("{{\"iat\":{iat},\"exp\":{exp}}}"));
            prop_assert_eq!(token_lifetime(&text), Some(Duration::from_secs(seconds.into())));
        }
    }
}
