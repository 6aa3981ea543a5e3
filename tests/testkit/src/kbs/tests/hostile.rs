//! Requests that no client sends.

use proplet_jose::b64;
use proplet_jose::jwk::PrivateKey;
use proplet_kbs::protocol::SentInitData;
use serde_json::{Value, json};

use super::raw::{attest, attestation, begin, send, send_bytes};
use crate::kbs::{DevKeyBroker, Policy};

async fn lenient() -> DevKeyBroker {
    let builder = DevKeyBroker::builder()
        .accept_sample()
        .policy(Policy::AllowAll);
    builder.start().await.unwrap()
}

/// The broker is alive and refuses nothing that is good.
async fn assert_alive(broker: &DevKeyBroker) {
    let begun = begin(broker, "sample").await;
    let key = PrivateKey::generate_p256().unwrap();
    let answer = attest(broker, &begun.cookie, &attestation(&begun.nonce, &key)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn survives_bytes_that_are_no_http() {
    let broker = lenient().await;
    for request in [
        &b""[..],
        b"\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /kbs/v0/auth HTTP/1.1\r\ncontent-length: 18446744073709551616\r\n\r\n",
        b"POST /kbs/v0/auth HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nshort",
        b"POST /kbs/v0/auth HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /kbs/v0/resource/\xff\xfe/a/b HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        send_bytes(&broker, request).await;
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn survives_json_of_another_shape() {
    let broker = lenient().await;
    let deep = "[".repeat(10_000);
    let wide = json!({ "version": "0.4.0".repeat(10_000), "tee": "sample", "extra-params": "" });
    let bodies = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\"\\ud800\"".to_owned(),
        "1e999".to_owned(),
        deep,
        wide.to_string(),
        json!({ "version": 4, "tee": "sample", "extra-params": "" }).to_string(),
        json!({ "version": "0.4.0", "tee": "sample" }).to_string(),
        json!({ "version": "0.4.0", "tee": "SAMPLE", "extra-params": {} }).to_string(),
        json!({ "version": "0.4.0", "tee": "x".repeat(1000), "extra-params": {} }).to_string(),
    ];
    for body in &bodies {
        let cookie = begin(&broker, "sample").await.cookie;
        for path in ["auth", "attest", "resource-policy"] {
            let path = format!("/kbs/v0/{path}");
            let headers = [("cookie", cookie.as_str())];
            let answer = send(&broker, "POST", &path, &headers, body.as_bytes()).await;
            assert_eq!(answer.status, 401, "{path}");
        }
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn survives_odd_paths_and_headers() {
    let broker = lenient().await;
    let cases = [
        ("GET", "/", 404),
        ("GET", "/kbs/v0", 404),
        ("GET", "/kbs/v0/", 404),
        ("GET", "/kbs/v1/auth", 404),
        ("GET", "/kbs/v0/resource", 401),
        ("GET", "/kbs/v0/resource/", 401),
        ("GET", "/kbs/v0/resource/../../etc/passwd", 401),
        ("GET", "/kbs/v0/resource/a/b/c?x=y", 401),
        ("PATCH", "/kbs/v0/resource/a/b/c", 404),
        ("DELETE", "/kbs/v0/resource/a/b/c", 401),
        ("DELETE", "/kbs/v0/resource/a/b/c/d", 401),
        ("POST", "/kbs/v0/resource/a/%2e%2e/c", 401),
        ("POST", "/kbs/v0/nonsense", 404),
        ("GET", "/healthz", 200),
    ];
    for (method, path, status) in cases {
        assert_eq!(
            send(&broker, method, path, &[], b"").await.status,
            status,
            "{method} {path}"
        );
    }
    let path = "/kbs/v0/resource/a/b/c";
    for (name, value, variant) in [
        ("cookie", "kbs-session-id", "TokenNotFound"),
        ("cookie", "kbs-session-id=", "TokenNotFound"),
        ("cookie", "a=b; kbs-session-id=x;;=", "TokenNotFound"),
        ("authorization", "Bearer", "TokenNotFound"),
        ("authorization", "Basic eDp5", "TokenNotFound"),
        ("authorization", "Bearer ..", "TokenVerifierError"),
        ("authorization", "Bearer a.b.c", "TokenVerifierError"),
    ] {
        let answer = send(&broker, "GET", path, &[(name, value)], b"").await;
        assert_eq!(
            (answer.status, answer.variant().as_str()),
            (401, variant),
            "{name}: {value}"
        );
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn refuses_large_bodies() {
    let broker = lenient().await;
    let answer = send(&broker, "POST", "/kbs/v0/auth", &[], &vec![b' '; 3 << 20]).await;
    // The answer is lost where the broker closes while the request is still on its way.
    assert!([0, 413].contains(&answer.status));
    assert_alive(&broker).await;
}

#[tokio::test]
async fn refuses_evidence_that_is_not_about_the_session() {
    let broker = lenient().await;
    let key = PrivateKey::generate_p256().unwrap();
    let begun = begin(&broker, "sample").await;
    let good = || attestation(&begun.nonce, &key);
    let mut other_key = good();
    other_key.runtime_data.tee_pubkey =
        attestation(&begun.nonce, &PrivateKey::generate_p256().unwrap())
            .runtime_data
            .tee_pubkey;
    let mut other_additional = good();
    other_additional.tee_evidence.additional_evidence = "{}".to_owned();
    let mut no_evidence = good();
    no_evidence.tee_evidence.primary_evidence = Value::Null;
    let mut off_curve = good();
    off_curve.runtime_data.tee_pubkey.x = off_curve.runtime_data.tee_pubkey.y.clone();
    let init_data = [
        "json {}",
        "toml no toml",
        "toml ",
        "toml algorithm = \"md5\"",
    ]
    .map(|text| {
        let (format, body) = text.split_once(' ').unwrap();
        let mut bad = good();
        bad.init_data = Some(SentInitData {
            format: format.to_owned(),
            body: body.to_owned(),
        });
        bad
    });
    let other_nonce = attestation(&begin(&broker, "sample").await.nonce, &key);
    let bad = [
        other_key,
        other_additional,
        no_evidence,
        off_curve,
        other_nonce,
    ];
    for bad in bad.into_iter().chain(init_data) {
        let answer = attest(&broker, &begun.cookie, &bad).await;
        assert_eq!(
            (answer.status, answer.variant().as_str()),
            (401, "AttestationError")
        );
    }
    // Sample evidence does not pass for that of another TEE.
    let snp = begin(&broker, "snp").await;
    let answer = attest(&broker, &snp.cookie, &attestation(&snp.nonce, &key)).await;
    assert_eq!(answer.variant(), "AttestationError");
    // None of that spoiled the session.
    assert_eq!(attest(&broker, &begun.cookie, &good()).await.status, 200);
    assert_eq!(broker.counts().attested, 1);
}

#[tokio::test]
async fn a_token_cannot_be_rewritten() {
    let broker = lenient().await;
    broker.set_resource(&"kbs:///a/b/c".parse().unwrap(), b"x");
    let begun = begin(&broker, "sample").await;
    let key = PrivateKey::generate_p256().unwrap();
    let answer = attest(&broker, &begun.cookie, &attestation(&begun.nonce, &key)).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let get = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        send(&broker, "GET", "/kbs/v0/resource/a/b/c", &headers, b"").await
    };
    assert_eq!(get(&token).await.status, 200);
    let parts: Vec<_> = token.split('.').collect();
    let mut claims: Value = serde_json::from_slice(&b64::decode(parts[1]).unwrap()).unwrap();
    claims["exp"] = json!(u64::MAX);
    let claims = b64::encode(claims.to_string().as_bytes());
    let none = b64::encode(br#"{"alg":"none"}"#);
    for forged in [
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{claims}.{}", parts[2]),
    ] {
        assert_eq!(get(&forged).await.variant(), "TokenVerifierError");
    }
}
