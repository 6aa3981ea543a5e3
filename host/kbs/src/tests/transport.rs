//! What happens on the way: failures of each layer, second tries, and answers that are no answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use proplet_testkit::kbs::{DevKeyBroker, Reply};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Credentials, amiable, answering_resources, challenge, client, config, count, refusal,
    rewriting, sample, started, uri,
};
use crate::admin::{AdminAuth, AdminClient};
use crate::{Failure, KbsClient, KbsConfig, KbsError};

/// A server that answers everything so.
async fn answering(reply: Reply) -> DevKeyBroker {
    rewriting(move |_, _| reply.clone()).await
}

async fn failure(config: KbsConfig) -> (Failure, String) {
    let error = KbsClient::new(config, sample())
        .unwrap()
        .session()
        .await
        .unwrap_err();
    let KbsError::Unavailable { failure, .. } = &error else {
        panic!("{error}")
    };
    (*failure, error.to_string())
}

fn brief(url: &str) -> KbsConfig {
    let mut config = config(url);
    config.timeout = Duration::from_millis(200);
    config
}

#[tokio::test]
async fn an_unknown_host_is_named() {
    let mut config = brief("http://no-such-host.invalid:8080");
    // The resolver belongs to the machine and takes its time on a busy one. One try is enough.
    config.timeout = Duration::from_secs(60);
    config.connect_timeout = Duration::from_secs(60);
    config.retry_delay = Duration::from_secs(120);
    let (failure, message) = failure(config).await;
    assert_eq!(failure, Failure::Dns, "{message}");
    assert!(message.contains("no-such-host.invalid"), "{message}");
}

#[tokio::test]
async fn a_closed_port_is_a_connection_failure() {
    // Bound, so that nobody else is given the port meanwhile, and not listening.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let mut config = brief(&format!("http://{}", silent.local_addr().unwrap()));
    // On a busy machine the first try takes its time. One is enough.
    config.timeout = Duration::from_secs(30);
    config.retry_delay = Duration::from_secs(60);
    let (failure, message) = failure(config).await;
    assert_eq!(failure, Failure::Connect, "{message}");
    assert!(message.contains("check that the KBS runs"), "{message}");
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (failure, message) = failure(brief(&url)).await;
    assert_eq!(failure, Failure::Timeout, "{message}");
}

/// A server whose answers break off, and its tries as they come.
fn breaking_off() -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tried, tries) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"nonce\"");
            if tried.send(()).is_err() {
                return;
            }
        }
    });
    (url, tries)
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_transport_failure() {
    let (url, _tries) = breaking_off();
    let mut config = brief(&url);
    // On a busy machine a try takes its time. One is enough.
    config.timeout = Duration::from_secs(30);
    config.retry_delay = Duration::from_secs(60);
    let (failure, message) = failure(config).await;
    assert_eq!(failure, Failure::Transport, "{message}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again() {
    let (url, mut tries) = breaking_off();
    let mut config = brief(&url);
    config.timeout = Duration::from_secs(3600);
    let client = KbsClient::new(config, sample()).unwrap();
    let opening = tokio::spawn(async move { client.session().await.map(drop) });
    for _ in 0..3 {
        tries.recv().await.unwrap();
    }
    assert!(!opening.is_finished());
    opening.abort();
}

#[tokio::test]
async fn a_kbs_in_trouble_is_tried_again_until_it_recovers() {
    for status in [500, 502, 503, 429] {
        let troubles = AtomicUsize::new(3);
        let server = rewriting(move |_, good| {
            let trouble = |n: usize| n.checked_sub(1);
            match troubles.fetch_update(Ordering::SeqCst, Ordering::SeqCst, trouble) {
                Ok(_) => Reply::new(status, "busy"),
                Err(_) => good,
            }
        })
        .await;
        let client = KbsClient::new(config(&server.url()), sample()).unwrap();
        client.resource(&uri()).await.unwrap();
        assert_eq!(count(&server, "auth"), 4, "{status}");
    }
}

#[tokio::test]
async fn a_kbs_that_stays_in_trouble_is_given_up() {
    let server = answering(Reply::new(503, "down\r\nfor \x1b[31mmaintenance")).await;
    let mut config = config(&server.url());
    // The second try is the last: a third would come too late, however the waits are shortened.
    config.retry_delay = Duration::from_millis(1500);
    config.timeout = Duration::from_millis(2200);
    let (failure, message) = failure(config).await;
    assert_eq!(failure, Failure::Status(503), "{message}");
    assert!(message.contains("down??for ?[31mmaintenance"), "{message}");
    assert!(message.contains("times)"), "{message}");
    assert_eq!(count(&server, "auth"), 2);
}

#[tokio::test]
async fn answers_of_something_else_are_not_tried_again() {
    let cases = [
        (404, "kbs-unavailable", Some(Failure::WrongPath)),
        (413, "kbs-unavailable", Some(Failure::PayloadTooLarge)),
        (400, "kbs-protocol", None),
        (401, "kbs-protocol", None),
        (403, "kbs-protocol", None),
    ];
    for (status, code, expected) in cases {
        let server = answering(Reply::new(status, "<html>nginx</html>")).await;
        let client = client(&server);
        let error = client.session().await.unwrap_err();
        assert_eq!(error.code(), code, "{status}");
        let found = match error {
            KbsError::Unavailable { failure, .. } => Some(failure),
            _ => None,
        };
        assert_eq!(found, expected, "{status}");
        assert_eq!(count(&server, "auth"), 1, "{status}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = answering(challenge()).await;
    let target = format!("{}/kbs/v0/auth", other.url());
    let server = answering(Reply::new(307, "").with("location", &target)).await;
    let client = KbsClient::new(config(&server.url()), sample()).unwrap();
    assert_eq!(client.session().await.unwrap_err().code(), "kbs-protocol");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn challenges_that_are_none_are_refused() {
    let no_cookie = Reply {
        headers: Vec::new(),
        ..challenge()
    };
    let bad_hash = json!({ "nonce": "AA", "extra-params": { "selected-hash-algorithm": "md5" } });
    let cases = [
        Reply::new(200, ""),
        Reply::new(200, "garbage"),
        Reply::new(200, vec![b' '; 1 << 20]),
        Reply::new(200, vec![0xff; 100]),
        Reply::new(204, ""),
        Reply::json(&json!({ "nonce": "", "extra-params": "" })),
        Reply::json(&bad_hash).with("set-cookie", "kbs-session-id=1"),
        no_cookie.clone(),
        no_cookie.with("set-cookie", "other=1"),
        challenge().with("set-cookie", "kbs-session-id=bad value"),
    ];
    for reply in cases {
        let shown = String::from_utf8_lossy(&reply.body)
            .chars()
            .take(80)
            .collect::<String>();
        let server = answering(reply).await;
        let client = client(&server);
        let error = client.session().await.unwrap_err();
        assert_eq!(error.code(), "kbs-protocol", "{shown}");
        assert_eq!(server.requests().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn tokens_that_are_none_are_refused() {
    for body in [
        "",
        "[]",
        "{}",
        "{\"token\":1}",
        "{\"token\":\"\"}",
        "{\"token\":\"opaque\"}",
        "{\"token\":\"a.b.c\\r\\nx\"}",
        "{\"token\":\"a.b",
    ] {
        let server = rewriting(move |asked, good| match asked.endpoint() {
            "auth" => good,
            _ => Reply::new(200, body),
        })
        .await;
        let client = client(&server);
        let error = client.session().await.unwrap_err();
        assert_eq!(error.code(), "kbs-protocol", "{body}");
        assert_eq!(client.live_session(), None);
    }
}

#[tokio::test]
async fn resources_that_are_none_are_refused() {
    for body in ["", "plain bytes", "{}", "{\"protected\":\"e30\"}", "[1]"] {
        let server = answering_resources(Reply::new(200, body)).await;
        let client = KbsClient::new(config(&server.url()), sample()).unwrap();
        let error = client.resource(&uri()).await.unwrap_err();
        assert_eq!(error.code(), "kbs-protocol", "{body}");
        assert_eq!(count(&server, "resource"), 1);
    }
}

#[tokio::test]
async fn resources_have_a_limit() {
    let limit = 64 * 1024;
    for (size, fits) in [
        (0, true),
        (limit, true),
        (limit + 1, false),
        (8 * limit, false),
    ] {
        let server = started(amiable(300)).await;
        server.set_resource(&uri(), &vec![7; size]);
        let mut config = config(&server.url());
        config.max_resource_bytes = limit;
        let client = KbsClient::new(config, sample()).unwrap();
        match client.resource(&uri()).await {
            Ok(resource) => assert!(fits && resource.bytes.len() == size),
            Err(error) => {
                assert!(!fits, "{size}: {error}");
                assert_eq!(error, KbsError::TooLarge { uri: uri(), limit });
            }
        }
    }
}

#[tokio::test]
async fn an_echo_of_credentials_stays_out_of_messages() {
    let credentials = Credentials::default();
    let seen = credentials.clone();
    let server = rewriting(move |asked, good| {
        seen.see(asked, &good);
        match asked.endpoint() {
            "auth" | "attest" => good,
            _ => {
                let token = seen.token();
                Reply::error("PolicyDeny", &format!("no luck with {token}{token}"))
            }
        }
    })
    .await;
    let error = client(&server).resource(&uri()).await.unwrap_err();
    let message = format!("{error} {error:?}");
    assert!(message.contains("no luck with [redacted]"), "{message}");
    assert!(!message.contains(&credentials.token()), "{message}");
}

#[tokio::test]
async fn an_administrator_is_told_what_is_wrong() {
    let cases = [
        ("AdminAuthAccess", "kbs-admin-refused", "kbs-admin-refused"),
        ("PluginInternalError", "kbs-not-found", "kbs-unavailable"),
        ("ParsePolicyError", "kbs-denied", "kbs-protocol"),
    ];
    for (variant, on_resource, on_policy) in cases {
        let server = answering(refusal(variant)).await;
        let admin = AdminClient::new(config(&server.url()), AdminAuth::None).unwrap();
        let code = |result: Result<(), KbsError>| result.unwrap_err().code();
        assert_eq!(
            code(admin.delete_resource(&uri()).await),
            on_resource,
            "{variant}"
        );
        assert_eq!(
            code(admin.set_resource_policy("package policy").await),
            on_policy,
            "{variant}"
        );
    }
    let server = answering(Reply::new(200, "")).await;
    let mut config = config(&server.url());
    config.max_resource_bytes = 3;
    let admin = AdminClient::new(config, AdminAuth::None).unwrap();
    assert_eq!(
        admin
            .set_resource(&uri(), b"four")
            .await
            .unwrap_err()
            .code(),
        "kbs-too-large"
    );
    let foreign = "kbs://evil.example/a/b/c".parse().unwrap();
    assert_eq!(
        admin.set_resource(&foreign, b"x").await.unwrap_err().code(),
        "kbs-foreign-host"
    );
    assert!(server.requests().is_empty());
}

/// A certificate for `localhost` and a server that shows it to one visitor.
pub(super) struct TlsServer {
    pub(super) url: String,
    pub(super) ca_pem: Vec<u8>,
    pub(super) thread: JoinHandle<std::io::Result<()>>,
}

pub(super) fn tls_server(reply: impl Into<Vec<u8>>) -> TlsServer {
    let reply = reply.into();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("localhost:0").unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        let connection = rustls::ServerConnection::new(Arc::new(tls)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let (mut request, mut part) = (Vec::new(), [0; 1024]);
        while !is_whole(&request) {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Ok(());
            }
            request.extend_from_slice(&part[..read]);
        }
        stream.write_all(&reply)?;
        stream.conn.send_close_notify();
        stream.flush()
    });
    TlsServer {
        url,
        ca_pem: cert.pem().into_bytes(),
        thread,
    }
}

/// Whether these bytes are a request with its body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

pub(super) const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn the_given_ca_is_trusted() {
    let server = tls_server(NOT_FOUND);
    let mut config = brief(&server.url);
    config.timeout = Duration::from_secs(10);
    config.allow_http = false;
    config.ca_pem = Some(server.ca_pem);
    assert_eq!(failure(config).await.0, Failure::WrongPath);
    server.thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn another_ca_is_not_trusted_and_not_tried_again() {
    let (server, other) = (tls_server(NOT_FOUND), tls_server(NOT_FOUND));
    let mut config = config(&server.url);
    config.ca_pem = Some(other.ca_pem);
    let (failure, message) = failure(config).await;
    assert_eq!(failure, Failure::Tls, "{message}");
    assert!(
        message.contains("tried once") && message.contains("CA of the KBS"),
        "{message}"
    );
    server.thread.join().unwrap().unwrap_err();
}

#[tokio::test]
async fn plain_http_behind_an_https_url_is_a_tls_failure() {
    let server = answering(challenge()).await;
    let mut config = config(&server.url().replace("http://", "https://"));
    config.ca_pem = Some(tls_server(NOT_FOUND).ca_pem);
    let (failure, message) = failure(config).await;
    assert_eq!(failure, Failure::Tls, "{message}");
}

#[test]
fn plain_http_must_be_allowed() {
    let mut config = config("http://127.0.0.1:1");
    config.allow_http = false;
    assert_eq!(
        KbsClient::new(config, sample()).unwrap_err().code(),
        "kbs-config"
    );
}
