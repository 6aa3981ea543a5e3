//! Every recorded exchange of Trustee's KBS, replayed against the client.
//!
//! The server gives the recorded answers. What the client asks is compared with what the reference
//! client asked: the same endpoints in the same order (but for its blind first request), the same
//! members of the same types, and report data with the same relation to the rest of the message.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proplet_jose::jcs;
use proplet_jose::jwk::PrivateKey;
use proplet_testkit::kbs::{Asked, DevKeyBroker, Recorded, Reply};
use proplet_types::ResourceUri;
use serde_json::{Value, json};

use super::{client, config, count, rewriting, sample};
use crate::admin::{AdminAuth, AdminClient};
use crate::{Failure, KbsClient, KbsError};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/rcar")
        .join(name)
}

/// The exchanges of a folder, in order.
fn recordings(name: &str) -> Vec<Recorded> {
    Recorded::folder(&folder(name)).unwrap()
}

async fn replay(exchanges: &[Recorded]) -> DevKeyBroker {
    DevKeyBroker::replay(exchanges).await.unwrap()
}

/// The client asked for the same as the reference client did.
fn assert_same_requests(server: &DevKeyBroker, exchanges: &[Recorded]) {
    let log = server.requests();
    assert_eq!(log.len(), exchanges.len());
    for (ours, theirs) in log.iter().zip(exchanges) {
        assert_same_request(ours, theirs);
    }
}

fn assert_same_request(ours: &Asked, theirs: &Recorded) {
    let file = &theirs.file;
    assert_eq!(
        (ours.method(), ours.target()),
        (theirs.method.as_str(), theirs.target.as_str()),
        "{file}"
    );
    for name in ["cookie", "content-type", "authorization"] {
        // The reference client shows the cookie of its last session when it begins another; a new
        // session needs none.
        if name == "cookie" && theirs.target.ends_with("/auth") {
            assert_eq!(ours.header(name), None, "{file}");
            continue;
        }
        let theirs = theirs.request_header(name);
        assert_eq!(ours.header(name), theirs, "{name} of {file}");
    }
    if theirs.request_header("content-type") != Some("application/json") {
        assert_eq!(ours.body(), theirs.request_body, "{file}");
        return;
    }
    let (ours, theirs): (Value, Value) = (
        ours.json(),
        serde_json::from_slice(&theirs.request_body).unwrap(),
    );
    let rsa = theirs["runtime-data"]["tee-pubkey"]["kty"] == "RSA";
    if !rsa {
        assert_eq!(shape(&ours), shape(&theirs), "{file}");
    }
    for attestation in [&ours, &theirs] {
        let Some(evidence) = attestation.get("tee-evidence") else {
            continue;
        };
        let report_data = evidence["primary_evidence"]["report_data"]
            .as_str()
            .unwrap();
        assert_eq!(
            STANDARD.decode(report_data).unwrap(),
            report_data_of(attestation),
            "{file}"
        );
    }
}

/// The members and their types, without values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, v)| (name.clone(), shape(v)))
                .collect(),
        ),
    }
}

/// The digest that an attestation's evidence must hold, for keys of any kind.
fn report_data_of(attestation: &Value) -> Vec<u8> {
    let claims = json!({
        "additional-evidence": attestation["tee-evidence"]["additional_evidence"],
        "nonce": attestation["runtime-data"]["nonce"],
        "tee-pubkey": attestation["runtime-data"]["tee-pubkey"],
    });
    let text = jcs::to_string(&claims).unwrap();
    ring::digest::digest(&ring::digest::SHA384, text.as_bytes())
        .as_ref()
        .to_vec()
}

fn uri(text: &str) -> ResourceUri {
    text.parse().unwrap()
}

fn module_key() -> ResourceUri {
    uri("kbs:///default/key/propeller-wasm")
}

/// What the reference client printed: the resource in base64.
fn printed(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(folder(name).join("client.stdout")).unwrap();
    STANDARD.decode(text.trim()).unwrap()
}

#[tokio::test]
async fn gets_the_recorded_resource() {
    let name = "03-get-resource-p256";
    // The first exchange is the reference client's request without a session.
    let exchanges = &recordings(name)[1..];
    let server = replay(exchanges).await;
    let pem = std::fs::read_to_string(folder(name).join("tee-key.pem")).unwrap();
    let keys = Box::new(move || PrivateKey::from_pkcs8_pem(&pem));
    let client = KbsClient::with_keys(config(&server.url()), sample(), keys).unwrap();

    let resource = client.resource(&module_key()).await.unwrap();
    assert_eq!(*resource.bytes, printed(name));
    assert_eq!(client.live_session(), Some(resource.session));
    assert_same_requests(&server, exchanges);
    // The same key and nonce: the whole attestation is the recorded one.
    let attestation: Value = serde_json::from_slice(&exchanges[1].request_body).unwrap();
    assert_eq!(server.requests()[1].json(), attestation);
}

#[tokio::test]
async fn does_not_open_what_is_sealed_with_rsa() {
    let exchanges = &recordings("03-get-resource-rsa")[1..];
    let server = replay(exchanges).await;
    let error = client(&server).resource(&module_key()).await.unwrap_err();
    assert_eq!(error.code(), "kbs-protocol");
    assert!(error.to_string().contains("RSA-OAEP-256"), "{error}");
    assert_same_requests(&server, exchanges);
}

#[tokio::test]
async fn does_not_open_what_is_sealed_to_another_key() {
    let exchanges = &recordings("04-get-resource-default-key")[1..];
    let server = replay(exchanges).await;
    let error = client(&server).resource(&module_key()).await.unwrap_err();
    assert_eq!(error.code(), "kbs-protocol");
    assert_same_requests(&server, exchanges);
}

/// The reference client attests anew after each refusal; those handshakes are good recordings too.
async fn replays_refusals(name: &str, uri: &ResourceUri, code: &str) {
    let exchanges = recordings(name);
    for round in [&exchanges[1..4], &exchanges[4..7]] {
        let server = replay(round).await;
        let client = client(&server);
        let error = client.resource(uri).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_same_requests(&server, round);
        // A refusal of one resource says nothing about the session.
        assert!(client.live_session().is_some());
    }
    let last = &exchanges[7..9];
    let server = replay(last).await;
    client(&server).session().await.unwrap();
    assert_same_requests(&server, last);
}

#[tokio::test]
async fn a_missing_resource_is_not_attested_for_again() {
    let missing = uri("kbs:///default/key/does-not-exist");
    replays_refusals("05-get-missing-resource", &missing, "kbs-not-found").await;
}

#[tokio::test]
async fn a_denied_resource_is_not_attested_for_again() {
    replays_refusals(
        "07-strict-default-policy-denied",
        &module_key(),
        "kbs-denied",
    )
    .await;
}

#[tokio::test]
async fn administers_as_recorded() {
    let policy = recordings("01-admin-set-resource-policy-allow-all");
    let resource = recordings("02-admin-set-resource");
    let exchanges = [policy, resource].concat();
    let server = replay(&exchanges).await;
    let bearer = exchanges[0].request_header("authorization").unwrap();
    let auth = AdminAuth::token(bearer.strip_prefix("Bearer ").unwrap()).unwrap();
    let admin = AdminClient::new(config(&server.url()), auth).unwrap();

    let body: Value = serde_json::from_slice(&exchanges[0].request_body).unwrap();
    let rego = proplet_jose::b64::decode(body["policy"].as_str().unwrap()).unwrap();
    admin
        .set_resource_policy(std::str::from_utf8(&rego).unwrap())
        .await
        .unwrap();
    admin
        .set_resource(&module_key(), &exchanges[1].request_body)
        .await
        .unwrap();
    assert_same_requests(&server, &exchanges);
    assert_eq!(server.requests()[0].json(), body);
}

/// A KBS that answers one endpoint with a recording and is otherwise the one of the good handshake.
async fn with_one_answer(endpoint: &'static str, reply: Reply) -> DevKeyBroker {
    let good = recordings("03-get-resource-p256");
    rewriting(move |asked, _| {
        let asked = asked.endpoint().split('/').next().unwrap();
        let good = match asked {
            "auth" => &good[1],
            "attest" => &good[2],
            _ => &good[3],
        };
        if asked == endpoint {
            reply.clone()
        } else {
            good.reply.clone()
        }
    })
    .await
}

/// What the client makes of an answer: its error, and how often it asked each endpoint for it.
#[derive(Debug, PartialEq)]
struct Reaction {
    code: &'static str,
    auth: usize,
    attest: usize,
    other: usize,
}

const fn reaction(code: &'static str, auth: usize, attest: usize, other: usize) -> Reaction {
    Reaction {
        code,
        auth,
        attest,
        other,
    }
}

#[tokio::test]
async fn each_recorded_error_has_its_class() {
    let token = || reaction("kbs-token-refused", 2, 2, 4);
    let rejected_auth = || reaction("kbs-evidence-rejected", 1, 0, 0);
    let rejected = || reaction("kbs-evidence-rejected", 1, 1, 0);
    let session = || reaction("", 1, 1, 0);
    // Sealed to the key of another handshake.
    let sealed = || reaction("kbs-protocol", 1, 1, 1);
    let expected = [
        ("get resource, no session", token()),
        ("get resource, unknown session cookie", token()),
        ("get resource, authed but not attested", token()),
        (
            "get resource, garbage bearer token",
            reaction("kbs-token-refused", 2, 2, 2),
        ),
        (
            "auth, wrong protocol version 0.1.1",
            reaction("kbs-version-mismatch", 1, 0, 0),
        ),
        (
            "auth, protocol version 0.3.0",
            reaction("kbs-version-mismatch", 1, 0, 0),
        ),
        ("auth, unknown tee", rejected_auth()),
        ("auth, not JSON", rejected_auth()),
        ("auth, extra-params empty string", session()),
        ("auth, extra-params {}", session()),
        ("auth, supported-hash-algorithms [sha256] only", session()),
        ("attest, no cookie", rejected()),
        ("attest, unknown session cookie", rejected()),
        ("attest, bad nonce", rejected()),
        ("attest, wrong report_data", rejected()),
        ("attest, report_data sha256 instead of sha384", rejected()),
        (
            "attest, report_data without additional-evidence member",
            rejected(),
        ),
        ("attest, init-data member absent", session()),
        ("attest, runtime-data absent", rejected()),
        ("attest ok", session()),
        ("attest again on attested session (bad nonce)", session()),
        ("get resource after attest (cookie)", sealed()),
        ("get missing resource", reaction("kbs-not-found", 1, 1, 1)),
        (
            "get resource bad path (2 parts)",
            reaction("kbs-not-found", 1, 1, 1),
        ),
        ("unknown plugin", reaction("kbs-unavailable", 1, 1, 1)),
        ("get resource with bearer token, no cookie", sealed()),
        (
            "set resource without admin token",
            reaction("kbs-admin-refused", 0, 0, 1),
        ),
    ];
    let cases = std::fs::read(folder("06-errors-raw").join("cases.json")).unwrap();
    let cases: Value = serde_json::from_slice(&cases).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), expected.len());

    // Between the cases, the recordings hold the requests that prepared them.
    let mut exchanges = recordings("06-errors-raw").into_iter();
    for (case, (name, expected)) in cases.iter().zip(expected) {
        assert_eq!(case["case"], name);
        let of_case = |recorded: &Recorded| {
            let said = case["body"].as_str().unwrap().as_bytes();
            case["status"] == recorded.reply.status && recorded.reply.body == said
        };
        let recorded = exchanges.find(of_case).unwrap();
        assert_eq!(react(&recorded).await, expected, "{name}");
    }
}

/// The recorded requests that prepared a case are good ones; each is answered as the reference client
/// found it.
#[tokio::test]
async fn each_recording_is_understood() {
    for recorded in recordings("06-errors-raw") {
        let refused = recorded.reply.status != 200;
        let handshake = recorded.target.ends_with("/auth") || recorded.target.ends_with("/attest");
        // Recorded resources are sealed to keys that were not kept.
        let expected = refused || !handshake;
        assert_eq!(
            !react(&recorded).await.code.is_empty(),
            expected,
            "{}",
            recorded.file
        );
    }
}

async fn react(recorded: &Recorded) -> Reaction {
    let endpoint = recorded
        .target
        .strip_prefix("/kbs/v0/")
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let answered = match endpoint {
        "auth" => "auth",
        "attest" => "attest",
        _ => "resource",
    };
    let server = with_one_answer(answered, recorded.reply.clone()).await;
    let result = match (answered, recorded.method.as_str()) {
        ("resource", "POST") => {
            let admin = AdminClient::new(config(&server.url()), AdminAuth::None).unwrap();
            admin
                .set_resource(&module_key(), &recorded.request_body)
                .await
        }
        ("resource", _) => client(&server).resource(&module_key()).await.map(drop),
        _ => client(&server).session().await.map(drop),
    };
    let code = result
        .as_ref()
        .map_or_else(|error| error.code().as_str(), |()| "");
    let (auth, attest) = (count(&server, "auth"), count(&server, "attest"));
    Reaction {
        code,
        auth,
        attest,
        other: server.requests().len() - auth - attest,
    }
}

#[tokio::test]
async fn a_version_mismatch_is_explained() {
    let recorded = recordings("06-errors-raw").swap_remove(5);
    let server = with_one_answer("auth", recorded.reply).await;
    let error = client(&server).session().await.unwrap_err();
    let KbsError::VersionMismatch { detail } = &error else {
        panic!("{error}")
    };
    assert!(detail.contains("expect =0.4.0"), "{detail}");
    assert!(
        error.to_string().contains("Trustee v0.14 or later"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_plugin_is_a_wrong_path() {
    let recorded = recordings("06-errors-raw").swap_remove(34);
    let server = with_one_answer("resource", recorded.reply).await;
    let error = client(&server).resource(&module_key()).await.unwrap_err();
    let KbsError::Unavailable { failure, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*failure, Failure::WrongPath);
}
