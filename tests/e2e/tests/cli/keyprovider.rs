//! `keyprovider`: wrapping keys for `skopeo`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_agent::messages::KeyProviderMessage;
use proplet_image::ocicrypt::{AnnotationPacket, PrivateOptions, unwrap_options};
use proplet_testkit::grpc::{GrpcClient, GrpcStatus};
use proplet_testkit::kbs::{AdminAccess, DevKeyBroker, Endpoint, Fault};
use proplet_testkit::ports::free_address;
use proplet_types::{Digest, ExitCode, ResourceUri};
use prost::Message as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::support::Desk;

const WRAP: &str = "/keyprovider.KeyProviderService/WrapKey";
const INVALID_ARGUMENT: u32 = 3;
const PERMISSION_DENIED: u32 = 7;
const FAILED_PRECONDITION: u32 = 9;
const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;

/// Runs the command with these options while `work` goes on, and gives what that gave.
pub async fn providing<T>(
    desk: &Desk,
    options: &str,
    work: impl AsyncFnOnce(SocketAddr, GrpcClient) -> T,
) -> T {
    let address = free_address().unwrap();
    let line = format!("keyprovider --listen {address} {options}");
    let working = async {
        let client = loop {
            if let Ok(client) = GrpcClient::connect(address).await {
                break client;
            }
            tokio::task::yield_now().await;
        };
        work(address, client).await
    };
    tokio::select! {
        ended = desk.run(&line) => panic!("it ended: {ended:?}"),
        done = working => done,
    }
}

fn options() -> PrivateOptions {
    PrivateOptions::new(Zeroizing::new([7; 32]), Digest::of(b"plain"), [9; 16])
}

/// Has the options wrapped as skopeo does, and gives the packet.
async fn wrap(client: &GrpcClient, parameters: &str) -> Result<AnnotationPacket, GrpcStatus> {
    let json = json!({
        "op": "keywrap",
        "keywrapparams": {
            "ec": {
                "Parameters": { "attestation-agent": [STANDARD.encode(parameters)] },
                "DecryptConfig": { "Parameters": null },
            },
            "optsdata": STANDARD.encode(options().to_json().as_slice()),
        },
        "keyunwrapparams": { "dc": null, "annotation": null },
    });
    let answer = send(client, WRAP, &json.to_string()).await?;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let packet: Vec<u8> =
        serde_json::from_value(answer["keywrapresults"]["annotation"].clone()).unwrap();
    Ok(AnnotationPacket::from_json(&packet).unwrap())
}

async fn send(client: &GrpcClient, path: &str, json: &str) -> Result<Vec<u8>, GrpcStatus> {
    let message = KeyProviderMessage {
        json: json.as_bytes().to_vec(),
    };
    let answer = client.call(path, &message.encode_to_vec()).await.unwrap()?;
    Ok(KeyProviderMessage::decode(answer.as_slice()).unwrap().json)
}

fn opened(packet: &AnnotationPacket, key: &[u8]) -> Vec<u8> {
    unwrap_options(packet, key).unwrap().to_json().to_vec()
}

#[tokio::test]
async fn a_layers_key_is_wrapped_under_the_files_key() {
    let desk = Desk::new();
    let path = desk.write("key", [3; 32]);
    let parameters = format!("keypath={}::keyid=kbs:///default/key/one", path.display());
    providing(&desk, "", async |_, client| {
        for more in ["", "::algorithm=A256GCM", "::sample=false"] {
            let packet = wrap(&client, &format!("{parameters}{more}")).await.unwrap();
            assert_eq!(packet.kid().to_string(), "kbs:///default/key/one");
            assert_eq!(opened(&packet, &[3; 32]), options().to_json().to_vec());
        }
    })
    .await;
}

#[tokio::test]
async fn what_makes_images_that_nobody_or_everybody_opens_is_refused() {
    let desk = Desk::new();
    let path = desk.write("key", [3; 32]).display().to_string();
    let other = desk.write("other", [4; 32]).display().to_string();
    let short = desk.write("short", [3; 31]).display().to_string();
    let id = "keyid=kbs:///default/key/one";
    providing(&desk, "", async |_, client| {
        wrap(&client, &format!("{id}::keypath={path}")).await.unwrap();
        for (parameters, code, words) in [
            ("sample=true".to_owned(), INVALID_ARGUMENT, "sample key"),
            (
                format!("{id}::keypath={path}::algorithm=A256CTR"),
                INVALID_ARGUMENT,
                "only A256GCM",
            ),
            (format!("{id}::key={path}"), INVALID_ARGUMENT, "\"key\" is not known"),
            (format!("keypath={path}"), INVALID_ARGUMENT, "keyid is missing"),
            (id.to_owned(), INVALID_ARGUMENT, "keypath is missing"),
            (
                format!("keyid=/default/key/one::keypath={path}"),
                INVALID_ARGUMENT,
                "kbs://",
            ),
            (
                format!("keyid=kbs://kbs.example/default/key/one::keypath={path}"),
                INVALID_ARGUMENT,
                "leave the host out",
            ),
            (
                format!("keyid=kbs:///default/data/one::keypath={path}"),
                PERMISSION_DENIED,
                "image-key-type: ",
            ),
            (format!("{id}::keypath={short}"), INVALID_ARGUMENT, "must have 32 bytes"),
            (format!("{id}::keypath=/nonexistent"), INVALID_ARGUMENT, "/nonexistent"),
            (format!("{id}::keypath={other}"), INVALID_ARGUMENT, "another key was used"),
        ] {
            let refused = wrap(&client, &parameters).await.unwrap_err();
            assert_eq!(refused.code, code, "{parameters}: {refused:?}");
            assert!(refused.message.contains(words), "{parameters}: {refused:?}");
        }
        let unwrap = "/keyprovider.KeyProviderService/UnWrapKey";
        let refused = send(&client, unwrap, "{\"op\":\"keyunwrap\"}").await.unwrap_err();
        assert_eq!(refused.code, UNIMPLEMENTED);
        for (json, words) in [
            ("{", "not JSON"),
            (
                "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":\"e30=\"}}",
                "WrapKey was called",
            ),
            (
                "{\"op\":\"keywrap\",\"keywrapparams\":{\"optsdata\":\"e30=\",\"ec\":{\"Parameters\":\
                 {\"attestation-agent\":[\"a2V5aWQ9a2JzOi8vL2Eva2V5LzE=\"]}}}}",
                "private options",
            ),
        ] {
            let refused = send(&client, WRAP, json).await.unwrap_err();
            assert_eq!(refused.code, INVALID_ARGUMENT, "{json}");
            assert!(refused.message.contains(words), "{json}: {refused:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn keys_are_at_the_key_broker_before_they_wrap() {
    let desk = Desk::new();
    let broker = DevKeyBroker::start().await.unwrap();
    let path = desk.write("key", [3; 32]).display().to_string();
    let options = format!(
        "--kbs-url {} --kbs-http --no-admin-token --key-id kbs:///default/key/file --key-id kbs:///default/key/new \
         --key-id kbs:///default/key/late",
        broker.url()
    );
    let uri = |text: &str| text.parse::<ResourceUri>().unwrap();
    providing(&desk, &options, async |_, client| {
        let id = "keyid=kbs:///default/key/file";
        for _ in 0..2 {
            wrap(&client, &format!("{id}::keypath={path}"))
                .await
                .unwrap();
        }
        assert_eq!(
            broker.resource(&uri("kbs:///default/key/file")).unwrap(),
            [3; 32]
        );
        assert_eq!(broker.counts().admin, 1);

        // A new key is the id's for all layers.
        let id = "keyid=kbs:///default/key/new";
        let packets = [
            wrap(&client, id).await.unwrap(),
            wrap(&client, id).await.unwrap(),
        ];
        let key = broker.resource(&uri("kbs:///default/key/new")).unwrap();
        assert_eq!(key.len(), 32);
        for packet in packets {
            assert_eq!(
                opened(&packet, &key),
                super::keyprovider::options().to_json().to_vec()
            );
        }
        assert_eq!(broker.counts().admin, 2);
        let refused = wrap(&client, &format!("{id}::keypath={path}"))
            .await
            .unwrap_err();
        assert!(
            refused.message.contains("another key was used"),
            "{refused:?}"
        );

        // What does not arrive wraps nothing, and is tried anew.
        broker.inject(Endpoint::Admin, Fault::Status(404));
        let id = "keyid=kbs:///default/key/late";
        let refused = wrap(&client, id).await.unwrap_err();
        assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
        broker.heal();
        wrap(&client, id).await.unwrap();
        assert!(broker.resource(&uri("kbs:///default/key/late")).is_some());
    })
    .await;
}

#[tokio::test]
async fn no_other_key_at_the_key_broker_is_replaced() {
    let desk = Desk::new();
    let broker = DevKeyBroker::start().await.unwrap();
    let path = desk.write("key", [3; 32]).display().to_string();
    let theirs: ResourceUri = "kbs:///default/key/theirs".parse().unwrap();
    broker.set_resource(&theirs, &[9; 32]);
    let listed = "--key-id kbs:///default/key/one";
    let uploading = format!(
        "{listed} --kbs-url {} --kbs-http --no-admin-token",
        broker.url()
    );
    for options in [uploading.as_str(), listed] {
        providing(&desk, options, async |_, client| {
            for parameters in [
                format!("keyid={theirs}"),
                format!("keyid={theirs}::keypath={path}"),
            ] {
                let refused = wrap(&client, &parameters).await.unwrap_err();
                assert_eq!(refused.code, INVALID_ARGUMENT, "{parameters}: {refused:?}");
                assert!(refused.message.contains("--key-id"), "{refused:?}");
            }
            assert_eq!(broker.resource(&theirs).unwrap(), [9; 32]);
            let one = format!("keyid=kbs:///default/key/one::keypath={path}");
            wrap(&client, &one).await.unwrap();
        })
        .await;
    }
    assert_eq!(broker.counts().admin, 1);
}

#[tokio::test]
async fn a_key_broker_that_refuses_administration_is_named() {
    let desk = Desk::new();
    let admin = AdminAccess::Nobody;
    let broker = DevKeyBroker::builder().admin(admin).start().await.unwrap();
    let options = format!(
        "--kbs-url {} --kbs-http --no-admin-token --key-id kbs:///default/key/new",
        broker.url()
    );
    providing(&desk, &options, async |_, client| {
        let refused = wrap(&client, "keyid=kbs:///default/key/new")
            .await
            .unwrap_err();
        assert_eq!(refused.code, FAILED_PRECONDITION, "{refused:?}");
        assert!(
            refused.message.starts_with("kbs-admin-refused: "),
            "{refused:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn it_listens_on_loopback_and_nowhere_else() {
    let desk = Desk::new();
    for address in ["0.0.0.0:50000", "192.0.2.1:50000", "[::]:50000"] {
        desk.run(&format!("keyprovider --listen {address}"))
            .await
            .refused(ExitCode::Usage, "no loopback address");
    }
    desk.run("keyprovider --listen localhost:50000")
        .await
        .misused("--listen");
    desk.run("keyprovider --kbs-url https://kbs.example --key-id kbs:///default/key/one")
        .await
        .misused("--admin-key");
    desk.run("keyprovider --kbs-url https://kbs.example --no-admin-token")
        .await
        .misused("--key-id");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    desk.run(&format!("keyprovider --listen {address}"))
        .await
        .refused(ExitCode::Failed, "cannot listen on");
}
