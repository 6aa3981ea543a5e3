//! The development key broker gives the answers that Trustee gave to the same requests.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_jose::b64;
use proplet_jose::jwe::Jwe;
use proplet_jose::jwk::PrivateKey;
use proplet_jose::jws::{EdDsaSigningKey, VerifyingKey};
use proplet_kbs::protocol::HashAlgorithm;
use serde_json::{Value, json};

use super::raw::{Raw, attest, attestation, begin, send};
use crate::kbs::{AdminAccess, Administrator, DevKeyBroker, Policy};

/// A broker in the state of the recorded one.
async fn broker() -> DevKeyBroker {
    let owner = EdDsaSigningKey::generate().unwrap();
    let key = VerifyingKey::from_jwk(&owner.public_jwk()).unwrap();
    let broker = DevKeyBroker::builder()
        .accept_sample()
        .policy(Policy::AllowAll)
        .admin(AdminAccess::Key(Administrator::new(key)))
        .start()
        .await
        .unwrap();
    broker.set_resource(
        &"kbs:///default/key/propeller-wasm".parse().unwrap(),
        b"the key",
    );
    broker
}

fn recordings() -> Vec<PathBuf> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../host/kbs/tests/vectors/rcar/06-errors-raw"
    );
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().as_encoded_bytes()[0].is_ascii_digit())
        .collect();
    files.sort();
    files
}

/// What differs from run to run: sessions, nonces and tokens.
#[derive(Default)]
struct Run {
    /// From recorded to present cookies.
    cookies: HashMap<String, String>,
    /// From present cookies to nonces.
    nonces: HashMap<String, String>,
    token: Option<String>,
}

impl Run {
    async fn repeat(&mut self, broker: &DevKeyBroker, recorded: &Value) -> Raw {
        let request = &recorded["request"];
        let mut line = request["start_line"].as_str().unwrap().split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        let good = status(recorded) == 200;
        let mut headers = Vec::new();
        for pair in request["headers"].as_array().unwrap() {
            let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
            match name.to_ascii_lowercase().as_str() {
                "cookie" => {
                    let present = self.cookies.get(value).map_or(value, String::as_str);
                    headers.push(("cookie", present.to_owned()));
                }
                "authorization" if good => {
                    headers.push((
                        "authorization",
                        format!("Bearer {}", self.token.clone().unwrap()),
                    ));
                }
                "authorization" => headers.push(("authorization", value.to_owned())),
                _ => {}
            }
        }
        let mut body = request["body"].as_str().unwrap().as_bytes().to_vec();
        let cookie = headers
            .iter()
            .find(|(name, _)| *name == "cookie")
            .map(|(_, v)| v.clone());
        // Good evidence is over the nonce of its session. What is sent to an attested session is not
        // looked at, and stays as it was recorded.
        let attests = path.ends_with("attest") && good && self.token.is_none();
        if let Some(cookie) = cookie.filter(|_| attests) {
            let key = PrivateKey::generate_p256().unwrap();
            body = serde_json::to_vec(&attestation(&self.nonces[&cookie], &key)).unwrap();
        }
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let answer = send(broker, method, path, &headers, &body).await;
        if let (Some(theirs), Some(ours)) = (recorded_cookie(recorded), answer.cookie()) {
            let nonce = answer.json()["nonce"].as_str().map(str::to_owned);
            self.nonces.extend(nonce.map(|nonce| (ours.clone(), nonce)));
            self.cookies.insert(theirs, ours);
        }
        // The case without init-data has a session of its own; the other good one is used further on.
        if attests && recorded["request"]["body_json"].get("init-data").is_some() {
            self.token = answer.json()["token"].as_str().map(str::to_owned);
        }
        answer
    }
}

fn status(recorded: &Value) -> u16 {
    let line = recorded["response"]["start_line"].as_str().unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn recorded_header<'a>(recorded: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = recorded["response"]["headers"].as_array().unwrap();
    pairs
        .iter()
        .find(|pair| pair[0] == name)
        .and_then(|pair| pair[1].as_str())
}

fn recorded_cookie(recorded: &Value) -> Option<String> {
    recorded_header(recorded, "set-cookie")?
        .split(';')
        .next()
        .map(str::to_owned)
}

/// The members and their types; of tokens, the same of header and claims.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(text) => {
            let parts: Vec<_> = text.split('.').take(2).map(decoded).collect();
            if parts.iter().all(Option::is_some) && parts.len() == 2 {
                parts
                    .into_iter()
                    .flatten()
                    .map(|part| shape(&part))
                    .collect()
            } else {
                "string".into()
            }
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, v)| (name.clone(), shape(v)))
                .collect(),
        ),
    }
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&b64::decode(part).ok()?).ok()
}

fn load(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn answers_as_recorded() {
    let broker = broker().await;
    let mut run = Run::default();
    let files = recordings();
    assert_eq!(files.len(), 37);
    for file in files {
        let recorded = load(&file);
        let answer = run.repeat(&broker, &recorded).await;
        let file = file.display();
        assert_eq!(answer.status, status(&recorded), "{file}");
        for name in ["content-type", "set-cookie", "date"] {
            let theirs = recorded_header(&recorded, name);
            assert_eq!(
                answer.header(name).is_some(),
                theirs.is_some(),
                "{name} of {file}"
            );
        }
        let theirs: Value =
            serde_json::from_str(recorded["response"]["body"].as_str().unwrap()).unwrap();
        if answer.status == 200 {
            assert_eq!(shape(&answer.json()), shape(&theirs), "{file}");
        } else {
            assert_eq!(answer.json(), theirs, "{file}");
        }
    }
}

#[tokio::test]
async fn additional_evidence_is_bound_and_shown() {
    let broker = broker().await;
    let key = PrivateKey::generate_p256().unwrap();
    let begun = begin(&broker, "sample").await;
    let mut message = attestation(&begun.nonce, &key);
    let data = &message.runtime_data;
    let device = STANDARD.encode(data.device_digest(HashAlgorithm::Sha384).unwrap());
    let workload = json!({ "component_digest": "sha256:00" });
    let evidence = json!({ "svn": "1", "report_data": device, "workload": workload });
    let additional = json!({ "sampledevice": evidence }).to_string();
    let digest = STANDARD.encode(
        data.primary_digest(&additional, HashAlgorithm::Sha384)
            .unwrap(),
    );
    message.tee_evidence.additional_evidence = additional.clone();
    // Without the digest of all of it, the CPU's evidence does not vouch for the device's.
    assert_eq!(attest(&broker, &begun.cookie, &message).await.status, 401);

    message.tee_evidence.primary_evidence = json!({ "svn": "1", "report_data": digest });
    let answer = attest(&broker, &begun.cookie, &message).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let claims = decoded(token.split('.').nth(1).unwrap()).unwrap();
    let submods = claims["submods"].as_object().unwrap();
    assert_eq!(submods.keys().collect::<Vec<_>>(), ["cpu0", "gpu0"]);
    let evidence = &claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"];
    let shown = evidence["runtime_data_claims"]["additional-evidence"]
        .as_str()
        .unwrap();
    assert_eq!(shown, additional);
}

#[tokio::test]
async fn the_resource_opens_with_the_attested_key() {
    let broker = broker().await;
    let begun = begin(&broker, "sample").await;
    let key = PrivateKey::generate_p256().unwrap();
    let answer = attest(&broker, &begun.cookie, &attestation(&begun.nonce, &key)).await;
    assert_eq!(answer.status, 200);
    let path = "/kbs/v0/resource/default/key/propeller-wasm";
    let answer = send(&broker, "GET", path, &[("cookie", &begun.cookie)], b"").await;
    let jwe: Jwe = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(jwe.decrypt(&key).unwrap().plaintext.as_slice(), b"the key");
    assert!(jwe.decrypt(&PrivateKey::generate_p256().unwrap()).is_err());
}
