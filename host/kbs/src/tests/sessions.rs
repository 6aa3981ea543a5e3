//! One session for all, for as long as it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proplet_testkit::kbs::{Asked, DevKeyBroker, Reply};
use serde_json::json;

use super::{
    Credentials, RESOURCE, amiable, answering_resources, client, count, counts, refusal, rewriting,
    started, uri,
};
use crate::KbsError;

async fn lasting(seconds: u64) -> DevKeyBroker {
    started(amiable(seconds)).await
}

/// Sets the clock of the client forward. Between such steps it runs as usual: a paused clock would
/// jump to the next deadline whenever a test waits for the network.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_session_is_renewed_before_its_token_ends() {
    let server = lasting(300).await;
    let client = client(&server);
    let first = client.session().await.unwrap();
    later(260).await;
    assert_eq!(client.session().await.unwrap(), first);
    later(15).await;
    assert_eq!(client.live_session(), Some(first), "it is not over yet");
    let second = client.session().await.unwrap();
    assert_ne!(second, first);
    assert_eq!(client.live_session(), Some(second));
    assert_eq!(count(&server, "auth"), 2);
    later(400).await;
    assert_eq!(client.live_session(), None);
    let third = client.resource(&uri()).await.unwrap().session;
    assert!(third != second && third != first);
}

#[tokio::test]
async fn the_cookie_may_end_a_session_before_the_token() {
    let minute = |asked: &Asked, good: Reply| match asked.endpoint() {
        "attest" => good.with("date", "Sun, 22 Nov 2026 09:48:34 GMT").with(
            "set-cookie",
            "kbs-session-id=new; Expires=Sun, 22 Nov 2026 09:49:34 GMT",
        ),
        _ => good,
    };
    let server = started(amiable(3600).rewrite(minute)).await;
    let client = client(&server);
    let first = client.resource(&uri()).await.unwrap().session;
    assert_eq!(
        server.requests()[2].header("cookie"),
        Some("kbs-session-id=new")
    );
    later(61).await;
    assert_eq!(client.live_session(), None);
    assert_ne!(client.session().await.unwrap(), first);
}

#[tokio::test]
async fn a_session_that_is_to_be_renewed_serves_while_the_kbs_is_away() {
    let away = Arc::new(AtomicBool::new(false));
    let server = rewriting({
        let away = away.clone();
        move |asked, good| match asked.endpoint() {
            "auth" if away.load(Ordering::SeqCst) => Reply::new(404, "rebuilding"),
            _ => good,
        }
    })
    .await;
    let client = client(&server);
    let session = client.session().await.unwrap();
    away.store(true, Ordering::SeqCst);
    later(280).await;
    assert_eq!(client.resource(&uri()).await.unwrap().session, session);
    later(19).await;
    let error = client.session().await.unwrap_err();
    assert_eq!(error.code(), "kbs-unavailable");
}

#[tokio::test]
async fn a_token_without_times_lasts_five_minutes() {
    let server = rewriting(|asked, good| match asked.endpoint() {
        "auth" => good,
        _ => Reply::json(&json!({ "token": "e30.e30.AAAA" })),
    })
    .await;
    let client = client(&server);
    let session = client.session().await.unwrap();
    later(240).await;
    assert_eq!(client.live_session(), Some(session));
    later(60).await;
    assert_eq!(client.live_session(), None);
}

#[tokio::test]
async fn a_token_that_is_over_at_once_is_refused() {
    let server = lasting(0).await;
    let error = client(&server).session().await.unwrap_err();
    assert_eq!(error.code(), "kbs-protocol");
    assert_eq!(count(&server, "auth"), 1);
}

#[tokio::test]
async fn a_token_for_ever_is_not_believed() {
    let server = lasting(u64::from(u32::MAX)).await;
    let client = client(&server);
    client.session().await.unwrap();
    later(24 * 60 * 60).await;
    assert_eq!(client.live_session(), None);
}

#[tokio::test]
async fn the_token_serves_where_the_cookie_is_not_known() {
    let credentials = Credentials::default();
    let seen = credentials.clone();
    let server = rewriting(move |asked, good| {
        seen.see(asked, &good);
        match asked.header("cookie") {
            Some(_) if asked.endpoint().starts_with("resource") => refusal("TokenNotFound"),
            _ => good,
        }
    })
    .await;
    let client = client(&server);
    let session = client.resource(&uri()).await.unwrap().session;
    let bearer = format!("Bearer {}", credentials.token());
    assert_eq!(
        server.requests()[3].header("authorization"),
        Some(bearer.as_str())
    );
    assert_eq!(server.requests()[3].header("cookie"), None);
    // From then on, the token is used at once.
    assert_eq!(client.resource(&uri()).await.unwrap().session, session);
    assert_eq!(counts(&server), [1, 1, 3]);
}

#[tokio::test]
async fn a_session_that_the_kbs_forgot_is_made_anew_once() {
    for variant in ["TokenNotFound", "TokenVerifierError"] {
        let forgotten = Arc::new(AtomicBool::new(false));
        let server = rewriting({
            let forgotten = forgotten.clone();
            move |asked, good| match asked.endpoint() {
                "attest" => {
                    forgotten.store(false, Ordering::SeqCst);
                    good
                }
                "auth" => good,
                _ if forgotten.load(Ordering::SeqCst) => refusal(variant),
                _ => good,
            }
        })
        .await;
        let client = client(&server);
        let first = client.resource(&uri()).await.unwrap().session;
        forgotten.store(true, Ordering::SeqCst);
        let second = client.resource(&uri()).await.unwrap().session;
        assert_ne!(first, second, "{variant}");
        assert_eq!(
            (count(&server, "auth"), count(&server, "attest")),
            (2, 2),
            "{variant}"
        );
    }
}

#[tokio::test]
async fn a_kbs_that_refuses_its_own_tokens_is_attested_to_twice_and_no_more() {
    let server = answering_resources(refusal("TokenVerifierError")).await;
    let client = client(&server);
    let error = client.resource(&uri()).await.unwrap_err();
    assert_eq!(
        error,
        KbsError::TokenRefused {
            detail: "words".to_owned()
        }
    );
    assert_eq!(counts(&server), [2, 2, 2]);
}

#[tokio::test]
async fn refusals_do_not_lead_to_another_attestation() {
    let cases = [
        ("PolicyDeny", "kbs-denied"),
        ("PolicyEngineError", "kbs-denied"),
        ("ParsePolicyError", "kbs-denied"),
        ("PluginInternalError", "kbs-not-found"),
        ("PluginNotFound", "kbs-unavailable"),
        ("InvalidRequestPath", "kbs-unavailable"),
        ("RvpsError", "kbs-unavailable"),
        ("StorageBackendInitialization", "kbs-unavailable"),
        ("JweError", "kbs-protocol"),
        ("SerdeError", "kbs-protocol"),
        ("AttestationError", "kbs-evidence-rejected"),
        ("AdminAuthAccess", "kbs-admin-refused"),
        ("SomethingNew", "kbs-protocol"),
    ];
    for (variant, code) in cases {
        let server = answering_resources(refusal(variant)).await;
        let client = client(&server);
        let error = client.resource(&uri()).await.unwrap_err();
        assert_eq!(error.code(), code, "{variant}");
        assert!(error.to_string().contains("words"), "{error}");
        assert!(client.live_session().is_some(), "{variant}");
        assert_eq!(counts(&server), [1, 1, 1], "{variant}");
    }
}

#[tokio::test]
async fn each_session_has_a_key_of_its_own() {
    let server = lasting(300).await;
    let client = client(&server);
    client.session().await.unwrap();
    later(300).await;
    client.session().await.unwrap();
    let keys: Vec<_> = server
        .requests()
        .iter()
        .filter(|asked| asked.endpoint() == "attest")
        .map(|asked| asked.json()["runtime-data"]["tee-pubkey"].clone())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn what_is_secret_does_not_show() {
    let credentials = Credentials::default();
    let seen = credentials.clone();
    let server = rewriting(move |asked, good| {
        seen.see(asked, &good);
        good
    })
    .await;
    let client = client(&server);
    let resource = client.resource(&uri()).await.unwrap();
    let shown = format!("{client:?} {resource:?}");
    let (cookie, token) = (credentials.cookie(), credentials.token());
    let (_, cookie) = cookie.split_once('=').unwrap();
    let resource = std::str::from_utf8(RESOURCE).unwrap();
    for secret in [resource, cookie, &token] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_resource_of_another_kbs_is_not_asked_for() {
    let server = lasting(300).await;
    let foreign = "kbs://evil.example/default/key/one".parse().unwrap();
    let error = client(&server).resource(&foreign).await.unwrap_err();
    assert_eq!(error.code(), "kbs-foreign-host");
    assert!(server.requests().is_empty());
}
