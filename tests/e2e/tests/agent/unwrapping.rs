//! `UnWrapKey`.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_agent::KeyUnwrapper;
use proplet_agent::messages::KeyProviderMessage;
use proplet_executor::harden::Swap;
use proplet_executor::{Executor, Host, Request, Source, Task};
use proplet_image::ocicrypt::{PrivateOptions, wrap_options};
use proplet_image::{KeySource, KeySourceError, NamedKbs, PullPolicy};
use proplet_runtime::CancelToken;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::grpc::GrpcStatus;
use proplet_testkit::kbs::DevKeyBroker;
use proplet_testkit::tee::FakeSnp;
use proplet_types::{Code, Digest, ResourceUri};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::support::*;

const KEY_ID: &str = "kbs:///default/key/1";

/// One key under one id.
struct OneKey(&'static str, Vec<u8>);

#[async_trait]
impl KeySource for OneKey {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        if kid.to_string() == self.0 {
            return Ok(Zeroizing::new(self.1.clone()));
        }
        Err(KeySourceError::new(Code::KbsNotFound, "no such resource"))
    }
}

async fn provider(key: &[u8], policy: PullPolicy) -> Served {
    let keys = Arc::new(OneKey(KEY_ID, key.to_vec()));
    Served::new(KEY_PROVIDER, KeyUnwrapper::new(keys, policy)).await
}

fn input(packet: &str) -> KeyProviderMessage {
    let json = json!({
        "op": "keyunwrap",
        "keywrapparams": { "ec": null, "optsdata": null },
        "keyunwrapparams": {
            "dc": { "Parameters": { "attestation-agent": ["YQ=="] } },
            "annotation": STANDARD.encode(packet),
        },
    });
    KeyProviderMessage {
        json: json.to_string().into_bytes(),
    }
}

/// The private options in an answer.
async fn unwrap(provider: &Served, packet: &str) -> Result<String, GrpcStatus> {
    let answer: KeyProviderMessage = provider.ask("UnWrapKey", &input(packet)).await?;
    let json: Value = serde_json::from_slice(&answer.json).unwrap();
    let options: Vec<u8> =
        serde_json::from_value(json["keyunwrapresults"]["optsdata"].clone()).unwrap();
    Ok(String::from_utf8(options).unwrap())
}

fn options() -> PrivateOptions {
    PrivateOptions::new(Zeroizing::new([7; 32]), Digest::of(b"plain"), [9; 16])
}

fn packet(kid: &str, key: &[u8]) -> String {
    let packet = wrap_options(&options(), key, kid.parse().unwrap()).unwrap();
    packet.to_json().unwrap()
}

/// A packet that guest components' own code opened to these options.
#[tokio::test]
async fn a_packet_of_the_stock_tools_opens() {
    let key = hex::decode("b794385f2d1ef7ab4d9273d1906381b44f2f6f2588a3efb96a49188331984753");
    let provider = provider(&key.unwrap(), PullPolicy::default()).await;
    let packet = r#"{"kid":"kbs:///default/key/1","wrapped_data":"j8ot/R6dw4dgW1EzoZCbAErFsm//+zcQOnGHp6N4LqK6mmJ7P3CXVho4jI8BjENle325eUFtr9nSrGmydjfuw2iVrrNcstzPeaS8sY/KCv82m6v7WyNSk9Mec+A6XqH5m6g6ScesLUPzZPWTGVMEwRxWRFn/S7oGM9yDpNum2ynYuiKBmbm5Gg7I5jPBK9lORsGC+dGnc6s7cKLExa+GyKF9uF/RQlHcvPC6K71YZ3RMswSZciENTmlS0HHkFG13nqCVwpO46kBN0DnBVuI2UTU=","iv":"AAECAwQFBgcICQoL","wrap_type":"A256GCM"}"#;
    assert_eq!(
        unwrap(&provider, packet).await.unwrap(),
        r#"{"symkey":"PH8vmIg1BPxpdqqk8KXvby8678vrDg3ohk0wp4eEzYk=","digest":"sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476","cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}}"#
    );
}

#[tokio::test]
async fn a_minute_has_so_many_keys() {
    let provider = provider(&[1; 32], PullPolicy::default()).await;
    let packet = packet(KEY_ID, &[1; 32]);
    for _ in 0..300 {
        unwrap(&provider, &packet).await.unwrap();
    }
    let words = "ask again in";
    provider
        .refused("UnWrapKey", &input(&packet), RESOURCE_EXHAUSTED, words)
        .await;
}

#[tokio::test]
async fn the_policy_of_a_pull_decides_here_too() {
    let policy = PullPolicy {
        kbs: NamedKbs::Configured(proplet_types::KbsHost::new("kbs.example", 443)),
        ..PullPolicy::default()
    };
    let provider = provider(&[1; 32], policy).await;
    let expected = String::from_utf8(options().to_json().to_vec()).unwrap();
    for kid in [KEY_ID, "kbs://kbs.example/default/key/1"] {
        let opened = unwrap(&provider, &packet(kid, &[1; 32])).await;
        match kid {
            KEY_ID => assert_eq!(opened.unwrap(), expected),
            // The source of this test knows the other spelling only.
            _ => assert_eq!(opened.unwrap_err().code, NOT_FOUND),
        }
    }
    let by_ctr = packet(KEY_ID, &[1; 32])
        .replace("A256GCM", "A256CTR")
        .replace("\"iv\":\"", "\"iv\":\"AAAA");
    let by_ctr: Value = {
        let mut value: Value = serde_json::from_str(&by_ctr).unwrap();
        value["iv"] = json!(STANDARD.encode([0; 16]));
        value
    };
    for (packet, code, words) in [
        (
            packet("kbs://other.example/default/key/1", &[1; 32]),
            FAILED_PRECONDITION,
            "image-key-mismatch: ",
        ),
        (
            packet("kbs:///default/data/1", &[1; 32]),
            PERMISSION_DENIED,
            "image-key-type: ",
        ),
        (
            by_ctr.to_string(),
            PERMISSION_DENIED,
            "image-wrap-refused: ",
        ),
        (
            packet("kbs:///default/key/2", &[1; 32]),
            NOT_FOUND,
            "kbs-not-found: ",
        ),
        (packet(KEY_ID, &[2; 32]), FAILED_PRECONDITION, "do not open"),
        ("{}".to_owned(), INVALID_ARGUMENT, "key packet"),
        ("no JSON".to_owned(), INVALID_ARGUMENT, "key packet"),
    ] {
        let refused = unwrap(&provider, &packet).await.unwrap_err();
        assert_eq!(refused.code, code, "{packet}: {refused:?}");
        assert!(refused.message.contains(words), "{packet}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_unwrapping_is_refused() {
    let provider = provider(&[1; 32], PullPolicy::default()).await;
    let good = input(&packet(KEY_ID, &[1; 32]));
    provider
        .refused("WrapKey", &good, UNIMPLEMENTED, "only UnWrapKey is served")
        .await;
    let wrapping = json!({
        "op": "keywrap",
        "keywrapparams": {
            "ec": { "Parameters": { "attestation-agent": ["a2V5aWQ9eA=="] } },
            "optsdata": "e30=",
        },
    });
    for (json, words) in [
        (wrapping.to_string(), "UnWrapKey was called"),
        ("{\"op\":\"keyunwrap\"}".to_owned(), "annotation is missing"),
        ("{".to_owned(), "not JSON"),
        (String::new(), "not JSON"),
        ("\u{feff}{}".to_owned(), "not JSON"),
        ("[".repeat(60_000), "not JSON"),
    ] {
        let message = KeyProviderMessage {
            json: json.into_bytes(),
        };
        provider
            .refused("UnWrapKey", &message, INVALID_ARGUMENT, words)
            .await;
    }
}

/// A host with these settings besides the key broker's.
fn executor(broker: &DevKeyBroker, more: &str) -> Executor {
    let text = format!(
        "[kbs]\nurl = \"{}\"\nallow_http = true\n{more}",
        broker.url()
    );
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let mut host = Host::new(Arc::new(settings), Some(Arc::new(FakeSnp::new())));
    host.swap = Swap::None;
    Executor::new(host).unwrap()
}

#[tokio::test]
async fn a_host_without_encrypted_tasks_unwraps_what_is_released_to_it() {
    let broker = DevKeyBroker::start().await.unwrap();
    let uri: ResourceUri = KEY_ID.parse().unwrap();
    broker.set_resource(&uri, &[5; 32]);
    let host = executor(&broker, "[confidential]\ntasks = false\n");
    let (keys, policy) = host.keys_for_others().unwrap();
    let provider = Served::new(KEY_PROVIDER, KeyUnwrapper::new(keys, policy)).await;
    let expected = String::from_utf8(options().to_json().to_vec()).unwrap();
    for _ in 0..2 {
        let opened = unwrap(&provider, &packet(KEY_ID, &[5; 32])).await.unwrap();
        assert_eq!(opened, expected);
    }
    assert_eq!(broker.counts().attested, 1);
    assert!(broker.delete_resource(&uri));
    let refused = unwrap(&provider, &packet(KEY_ID, &[5; 32]))
        .await
        .unwrap_err();
    assert_eq!(refused.code, NOT_FOUND, "{refused:?}");

    let encrypted = Request {
        source: Source::Encrypted {
            image: "registry.example/module:1".to_owned(),
            expected_key: None,
        },
        task: Task {
            id: "task-1".into(),
            name: "task".into(),
            inputs: Vec::new(),
            arguments: Vec::new(),
            invoke: None,
            env: Default::default(),
            watch: Default::default(),
            record: None,
        },
    };
    let outcome = host.execute(encrypted, CancelToken::new()).await;
    let error = outcome.error.unwrap();
    assert_eq!(error.code(), "encrypted-tasks-off");
    let readiness = host.readiness().await;
    assert_eq!(readiness.refusal.unwrap().code(), "encrypted-tasks-off");
}

#[tokio::test]
async fn a_host_with_encrypted_tasks_unwraps_nothing_for_others() {
    let broker = DevKeyBroker::start().await.unwrap();
    assert!(executor(&broker, "").keys_for_others().is_none());
    let host = executor(&broker, "[confidential]\ntasks = true\n");
    assert!(host.keys_for_others().is_none());
}

#[tokio::test]
async fn a_host_that_may_not_decrypt_says_why() {
    let settings = "[confidential]\ntasks = false\n";
    let settings = Settings::parse(Some(settings), &Environment::default()).unwrap();
    let host = Executor::new(Host::new(Arc::new(settings), None)).unwrap();
    let (keys, policy) = host.keys_for_others().unwrap();
    let provider = Served::new(KEY_PROVIDER, KeyUnwrapper::new(keys, policy)).await;
    let refused = unwrap(&provider, &packet(KEY_ID, &[5; 32]))
        .await
        .unwrap_err();
    assert_eq!(refused.code, FAILED_PRECONDITION);
    assert!(refused.message.contains("no-tee: "), "{refused:?}");
}
