//! The MQTT broker.

use std::path::Path;

use proplet_testkit::{
    broker::{BrokerSetup, Manager, TestBroker, TlsFiles},
    kbs::Policy,
    ports::free_address,
};
use proplet_types::{Code, ResourceUri};

use crate::scene::*;

fn password() -> ResourceUri {
    PASSWORD.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_comes_from_the_key_broker() {
    let broker = broker_on(0, "of-the-key-broker").await;
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let kbs = key_broker(Some("of-the-key-broker\n")).await;
    let (members, tables) = by_password(&broker);
    let proplet = start(&members, &tables, &kbs.url());
    manager.messages("control/proplet/alive", 1).await.unwrap();
    proplet.wait_for_state("connected").await;
    works(&manager, "a").await;
    proplet.stop().await;
    let counts = kbs.counts();
    assert_eq!((counts.attested, counts.resources), (1, 1));
    assert!(!broker.has_seen(b"of-the-key-broker"));
}

/// Each of these is told by its code, a stop ends the wait, and what was put right is found by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_not_there_is_waited_for() {
    let broker = broker_on(0, "right").await;
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let (members, tables) = by_password(&broker);
    let mut times = 0;
    for code in [Code::KbsNotFound, Code::KbsDenied, Code::CredentialInvalid] {
        let kbs = key_broker(Some("right")).await;
        match code {
            Code::KbsNotFound => assert!(kbs.delete_resource(&password())),
            Code::KbsDenied => kbs.set_policy(Policy::DenyAll),
            _ => kbs.set_resource(&password(), b"two\nlines"),
        }
        let stopped = start(&members, &tables, &kbs.url());
        stopped.wait_for_state(code.as_str()).await;
        stopped.stop().await;
        let proplet = start(&members, &tables, &kbs.url());
        proplet.wait_for_state(code.as_str()).await;
        kbs.set_resource(&password(), b"right");
        kbs.set_policy(Policy::Default);
        manager
            .messages("control/proplet/create", times + 1)
            .await
            .unwrap();
        works(&manager, code.as_str()).await;
        proplet.stop().await;
        times = manager.on("control/proplet/create").len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_broker_that_is_down_is_waited_for() {
    let broker = broker_on(0, "right").await;
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let (members, tables) = by_password(&broker);
    let address = free_address().unwrap();
    let url = format!("http://{address}");
    let proplet = start(&members, &tables, &url);
    proplet.wait_for_state("kbs-unavailable").await;
    proplet.stop().await;
    let proplet = start(&members, &tables, &url);
    proplet.wait_for_state("kbs-unavailable").await;
    let kbs = proplet_testkit::kbs::DevKeyBroker::builder().listen(address);
    let kbs = kbs.start().await.unwrap();
    kbs.set_resource(&password(), b"right");
    manager.messages("control/proplet/alive", 1).await.unwrap();
    proplet.stop().await;
}

/// The broker gets another password first, and the key broker a while later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_the_broker_refuses_is_fetched_again() {
    let broker = broker_on(0, "old").await;
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let kbs = key_broker(Some("old")).await;
    let (members, tables) = by_password(&broker);
    let proplet = start(&members, &tables, &kbs.url());
    manager.messages("control/proplet/alive", 1).await.unwrap();
    assert_eq!(kbs.counts().resources, 1);

    let port = broker.port();
    broker.stop().await;
    let broker = broker_on(port, "new").await;
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let refused = async {
        while kbs.counts().resources < 3 {
            tokio::task::yield_now().await;
        }
    };
    let patience = proplet_testkit::broker::PATIENCE;
    tokio::time::timeout(patience, refused).await.unwrap();
    kbs.set_resource(&password(), b"new");
    manager.messages("control/proplet/alive", 1).await.unwrap();
    works(&manager, "a").await;
    let counts = kbs.counts();
    assert!(counts.resources <= 5, "one for each refusal: {counts:?}");
    proplet.stop().await;
}

/// A refusal that was the broker's own mistake, at a time when the key broker is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_key_broker_what_was_shown_is_shown_again() {
    let broker = broker_on(0, "right").await;
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let kbs = key_broker(Some("right")).await;
    let (members, tables) = by_password(&broker);
    let proplet = start(&members, &tables, &kbs.url());
    manager.messages("control/proplet/alive", 1).await.unwrap();
    kbs.shutdown().await;
    let port = broker.port();
    broker.stop().await;
    let broker = broker_on(port, "wrong").await;
    proplet.wait_for_state("kbs-unavailable").await;
    broker.stop().await;
    let broker = broker_on(port, "right").await;
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    manager.messages("control/proplet/alive", 1).await.unwrap();
    proplet.stop().await;
}

#[test]
fn without_a_tee_the_daemon_does_not_start() {
    let (members, tables) = (
        format!("api_key_resource = {PASSWORD:?}\n"),
        "[mqtt]\naddress = \"mqtt://localhost\"\n",
    );
    let error = daemon(&members, tables, "http://localhost", false)
        .0
        .err()
        .unwrap();
    let words = error.to_string();
    assert!(words.starts_with("[proplet] api_key_resource: "), "{words}");
    assert!(words.contains("hardware TEE"), "{words}");
    let tables = "[mqtt]\naddress = \"mqtts://localhost\"\nclient_key_resource = \"kbs:///f/host-credential/t\"\n";
    let error = daemon("api_key = \"k\"", tables, "http://localhost", false)
        .0
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("[mqtt] client_key_resource: "),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let tables = format!(
        "[mqtt]\naddress = \"mqtts://localhost\"\n[outbox]\npath = {path:?}\n\
         sealing_root_resource = \"kbs:///f/host-credential/o\"\n"
    );
    let error = daemon("api_key = \"k\"", &tables, "http://localhost", false)
        .0
        .err()
        .unwrap();
    let words = error.to_string();
    assert!(
        words.starts_with("[outbox] sealing_root_resource: "),
        "{words}"
    );
    assert!(words.contains("hardware TEE") && !path.exists(), "{words}");
}

/// A CA, and certificates of it for the broker and for proplets, as PEM.
struct Authority(rcgen::Issuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new(folder: &Path) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        std::fs::write(folder.join("ca.pem"), pem).unwrap();
        Self(rcgen::Issuer::new(parameters, key))
    }

    /// Certificate and key.
    fn issue(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_for_tls_comes_from_the_key_broker() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let authority = Authority::new(folder.path());
    let (certificate, key) = authority.issue();
    std::fs::write(file("broker.pem"), certificate).unwrap();
    std::fs::write(file("broker.key"), key).unwrap();
    let setup = BrokerSetup {
        tls: Some(TlsFiles {
            certificate: file("broker.pem"),
            key: file("broker.key"),
            client_ca: Some(file("ca.pem")),
        }),
        ..BrokerSetup::default()
    };
    let broker = TestBroker::with(setup).await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let (certificate, key) = authority.issue();
    std::fs::write(file("client.pem"), &certificate).unwrap();
    let kbs = key_broker(None).await;
    let uri: ResourceUri = "kbs:///fleet/host-credential/tls".parse().unwrap();
    let tables = format!(
        "[mqtt]\naddress = {:?}\nca = {:?}\nclient_key_resource = \"{uri}\"\n",
        broker.tls_url().unwrap(),
        file("ca.pem"),
    );
    let named = format!("{tables}client_cert = {:?}\n", file("client.pem"));
    let mut times = 0;
    for (tables, stored) in [
        (&named, key.clone()),
        (&tables, format!("{certificate}{key}")),
    ] {
        // One that another CA signed is refused, and another is fetched.
        let stranger = tempfile::tempdir().unwrap();
        let (foreign, other) = Authority::new(stranger.path()).issue();
        let refused = match tables.contains("client_cert") {
            // The certificate is the file's, so a wrong key does not get as far as the broker.
            true => other,
            false => format!("{foreign}{other}"),
        };
        kbs.set_resource(&uri, refused.as_bytes());
        let before = kbs.counts().resources;
        let proplet = start("api_key = \"any\"", tables, &kbs.url());
        let asked_again = async {
            while kbs.counts().resources < before + 2 {
                tokio::task::yield_now().await;
            }
        };
        let patience = proplet_testkit::broker::PATIENCE;
        tokio::time::timeout(patience, asked_again).await.unwrap();
        kbs.set_resource(&uri, stored.as_bytes());
        manager
            .messages("control/proplet/create", times + 1)
            .await
            .unwrap();
        proplet.stop().await;
        times = manager.on("control/proplet/create").len();
    }
    // And without a certificate anywhere it says so.
    kbs.set_resource(&uri, key.as_bytes());
    let proplet = start("api_key = \"any\"", &tables, &kbs.url());
    proplet.wait_for_state("credential-invalid").await;
    proplet.stop().await;
}
