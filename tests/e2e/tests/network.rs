//! Where connections go: what the settings say, whatever the environment says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{cell::Cell, net::Ipv4Addr, path::Path, process::Stdio, sync::Arc, time::Duration};

use proplet_daemon::mqtt::Link;
use proplet_executor::certificates::KeyDistribution;
use proplet_executor::{Executor, Host, Request, Source, Task, TaskOutcome};
use proplet_hal::snp::{CertificateSource as _, Endorsement, EndorsementKeyKind, Generation, Tcb};
use proplet_image::{Artifact, ImageReference, Puller, RegistryConfig, push::push};
use proplet_kbs::{Failure, KbsClient, KbsConfig, KbsError};
use proplet_lab::workload::registry_over_http;
use proplet_net::Proxy;
use proplet_runtime::CancelToken;
use proplet_settings::{CertificateService, Settings, environment::Environment};
use proplet_testkit::{
    kbs::DevKeyBroker,
    pccs::{Mirrored, Pccs},
    proxy::TestProxy,
    registry::Registry,
    tee::FakeSnp,
};
use proplet_types::ResourceUri;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_rustls::TlsAcceptor;
use url::Url;

/// Tells the test that it is the process in the hostile environment, and where its files are.
const HOSTILE: &str = "PROPLET_TEST_HOSTILE";

fn module() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

fn add(image: String) -> Request {
    Request {
        source: Source::Plain(image),
        task: Task {
            id: "task-1".into(),
            name: "add".into(),
            inputs: vec!["10".into(), "20".into()],
            arguments: Vec::new(),
            invoke: None,
            env: [].into(),
            watch: Default::default(),
            record: None,
        },
    }
}

async fn run(settings: &str, image: String) -> TaskOutcome {
    let settings = Settings::parse(Some(settings), &Environment::of_process()).unwrap();
    let executor = Executor::new(Host::new(Arc::new(settings), None)).unwrap();
    executor.execute(add(image), CancelToken::new()).await
}

fn code(outcome: &TaskOutcome) -> &'static str {
    outcome
        .error
        .as_ref()
        .map_or("", |refusal| refusal.code().as_str())
}

/// Pushes the module, and gives the image's reference and the path of its layer.
async fn publish(config: &RegistryConfig, host: &str) -> (ImageReference, String) {
    let image = Artifact::wasm(module().into()).unwrap();
    let reference: ImageReference = format!("{host}/add:v1").parse().unwrap();
    push(config, &reference, &image).await.unwrap();
    let layer = image.manifest().unwrap().layer.digest;
    (reference, format!("/v2/add/blobs/{layer}"))
}

/// A server whose certificate is good for those who trust the authority that made it.
struct TlsServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    host: String,
}

impl TlsServer {
    async fn start(folder: &Path) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(folder.join("server.pem")).unwrap()],
                PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self {
            host: listener.local_addr().unwrap().to_string(),
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// Expects that the errand comes here, as often as it likes, and never trusts what it finds.
    async fn is_not_trusted<T>(&self, what: &str, errand: impl Future<Output = T>) -> Option<T> {
        let came = Cell::new(false);
        let serving = async {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                came.set(true);
                let shaken = self.acceptor.accept(stream).await;
                assert!(shaken.is_err(), "{what} trusts the environment's authority");
            }
        };
        // Some errands never end.
        let ended = tokio::select! {
            ended = timeout(Duration::from_secs(60), errand) => ended.ok(),
            () = serving => None,
        };
        assert!(came.get(), "{what} did not come to the server");
        ended
    }
}

fn certificates(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    write("ca.pem", authority.self_signed(&key).unwrap().pem());
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".into(), "localhost".into()];
    let server = rcgen::CertificateParams::new(names).unwrap();
    write("server.pem", server.signed_by(&key, &issuer).unwrap().pem());
    write("server.key", key.serialize_pem());
}

/// Runs itself again with variables that HTTP and TLS libraries obey, because a process cannot safely
/// change its own environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_variable_leads_a_connection_elsewhere() {
    if let Some(folder) = std::env::var_os(HOSTILE) {
        errands(Path::new(&folder)).await;
        return;
    }
    let proxy = TestProxy::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", "no_variable_leads_a_connection_elsewhere"])
        .arg("--nocapture")
        .env(HOSTILE, folder.path())
        .env("SSL_CERT_FILE", folder.path().join("ca.pem"))
        .env("SSL_CERT_DIR", folder.path())
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        again.env(name, proxy.url());
        again.env(name.to_ascii_lowercase(), proxy.url());
    }
    let ended = again.output().await.unwrap();
    let output = String::from_utf8_lossy(&ended.stdout).into_owned()
        + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

/// What the key broker is asked for.
fn resource() -> ResourceUri {
    "kbs:///default/data/given".parse().unwrap()
}

async fn errands(folder: &Path) {
    let registry = Registry::start().await.unwrap();
    let host = registry.host();
    let config = registry_over_http(&host);
    let (reference, layer) = publish(&config, &host).await;
    let puller = Puller::new(config).unwrap();
    let manifest = puller.resolve(&reference).await.unwrap();
    puller.pull_plain(&manifest).await.unwrap();
    let text = format!("[registry]\nhttp_hosts = [{host:?}]");
    for image in [reference.to_string(), format!("http://{host}{layer}")] {
        assert_eq!(run(&text, image).await.results, "30");
    }
    let broker = DevKeyBroker::start().await.unwrap();
    let tee = Arc::new(FakeSnp::new());
    let client = KbsClient::new(broker.config(), tee.clone()).unwrap();
    broker.set_resource(&resource(), b"given");
    client.resource(&resource()).await.unwrap();

    let server = TlsServer::start(folder).await;
    let config = RegistryConfig {
        private_hosts: vec![server.host.clone()],
        ..RegistryConfig::default()
    };
    let reference: ImageReference = format!("{}/add:v1", server.host).parse().unwrap();
    let puller = Puller::new(config.clone()).unwrap();
    let pulled = server.is_not_trusted("a pull", puller.resolve(&reference));
    assert!(pulled.await.unwrap().is_err());
    let image = Artifact::wasm(module().into()).unwrap();
    let pushed = server.is_not_trusted("a push", push(&config, &reference, &image));
    assert!(pushed.await.unwrap().is_err());
    let text = format!("[registry]\nprivate_hosts = [{:?}]", server.host);
    let fetched = run(&text, format!("https://{}/add.wasm", server.host));
    let fetched = server.is_not_trusted("a fetch", fetched).await.unwrap();
    assert_eq!(code(&fetched), "registry-unavailable");
    let url = Url::parse(&format!("https://{}", server.host)).unwrap();
    let client = KbsClient::new(KbsConfig::new(url), tee).unwrap();
    let wanted = resource();
    let asked = server.is_not_trusted("the key broker's client", client.resource(&wanted));
    let refused = asked.await.unwrap().err().unwrap();
    assert!(
        matches!(
            refused,
            KbsError::Unavailable {
                failure: Failure::Tls,
                ..
            }
        ),
        "{refused}"
    );
    let text = format!(
        "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"e\"\napi_key = \"k\"\n\
         [mqtt]\naddress = \"mqtts://{}\"",
        server.host
    );
    let settings = Settings::parse(Some(&text), &Environment::of_process()).unwrap();
    let executor = Executor::new(Host::new(Arc::new(settings.clone()), None)).unwrap();
    let identity = settings.identity().unwrap();
    let (_link, driver) = Link::new(&settings.mqtt, &identity, &executor).unwrap();
    // Nobody receives messages, so the driver ends where it would wait for the next attempt.
    let (messages, _) = mpsc::channel(1);
    server
        .is_not_trusted("the MQTT client", driver.run(messages))
        .await;
}

/// The words that a user reads, through every client's own errors. The cases are those of `proplet-net`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_meets_a_wrong_certificate_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut nameless = rcgen::CertificateParams::new(Vec::new()).unwrap();
    nameless.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = nameless.self_signed(&key).unwrap().pem();
    write("server.pem", pem.clone());
    write("server.key", key.serialize_pem());
    let server = TlsServer::start(folder.path()).await;
    let words = "no subject alternative name";

    let config = RegistryConfig {
        ca_pem: Some(pem.clone().into_bytes()),
        private_hosts: vec![server.host.clone()],
        ..RegistryConfig::default()
    };
    let reference: ImageReference = format!("{}/add:v1", server.host).parse().unwrap();
    let puller = Puller::new(config.clone()).unwrap();
    let pulled = server.is_not_trusted("a pull", puller.resolve(&reference));
    let error = pulled.await.unwrap().err().unwrap().to_string();
    assert!(error.contains(words), "{error}");
    let image = Artifact::wasm(module().into()).unwrap();
    let pushed = server.is_not_trusted("a push", push(&config, &reference, &image));
    let error = pushed.await.unwrap().err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
    let text = format!(
        "[registry]\nca = {:?}\nprivate_hosts = [{:?}]",
        folder.path().join("server.pem"),
        server.host
    );
    let fetched = run(&text, format!("https://{}/add.wasm", server.host));
    let fetched = server.is_not_trusted("a fetch", fetched).await.unwrap();
    let error = fetched.error.unwrap().to_string();
    assert!(error.contains(words), "{error}");
    let url = Url::parse(&format!("https://{}", server.host)).unwrap();
    let mut config = KbsConfig::new(url);
    config.ca_pem = Some(pem.into_bytes());
    let client = KbsClient::new(config, Arc::new(FakeSnp::new())).unwrap();
    let wanted = resource();
    let asked = server.is_not_trusted("the key broker's client", client.resource(&wanted));
    let error = asked.await.unwrap().err().unwrap().to_string();
    assert!(error.contains(words), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_the_settings_name_is_used_and_sees_no_more_than_names() {
    let registry = Registry::start_tls().await.unwrap();
    let ca_pem = registry.ca_pem().map(|pem| pem.as_bytes().to_vec());
    let proxy = TestProxy::start().await.unwrap();
    let address = format!("http://user:word@{}", proxy.host());
    let config = |except: &[String]| RegistryConfig {
        ca_pem: ca_pem.clone(),
        proxy: Some(Proxy::new(&address, except).unwrap()),
        private_hosts: vec![registry.host()],
        ..RegistryConfig::default()
    };
    let (reference, _) = publish(&config(&[]), &registry.host()).await;
    let pushed = proxy.heads().len();
    let puller = Puller::new(config(&[])).unwrap();
    let manifest = puller.resolve(&reference).await.unwrap();
    puller.pull_plain(&manifest).await.unwrap();
    let heads = proxy.heads();
    assert!(0 < pushed && pushed < heads.len(), "{heads:?}");
    for head in &heads {
        assert!(
            head.starts_with(&format!("CONNECT {}", registry.host())),
            "{head}"
        );
        let head = head.to_ascii_lowercase();
        // user:word
        assert!(
            head.contains("proxy-authorization: basic dxnlcjp3b3jk"),
            "{head}"
        );
        assert!(!head.contains("\r\nauthorization:"), "{head}");
    }

    let around = Puller::new(config(&["127.0.0.1".to_owned()])).unwrap();
    around.resolve(&reference).await.unwrap();
    assert_eq!(proxy.heads().len(), heads.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_names_the_proxies_of_registry_and_key_broker() {
    let registry = Registry::start().await.unwrap();
    let host = registry.host();
    let (reference, layer) = publish(&registry_over_http(&host), &host).await;
    let proxy = TestProxy::start().await.unwrap();
    let text = format!(
        "[registry]\nhttp_hosts = [{host:?}]\nproxy = {:?}\n",
        proxy.url()
    );
    for (image, path) in [
        (reference.to_string(), "/v2/add/manifests/v1"),
        (format!("http://{host}{layer}"), layer.as_str()),
    ] {
        let before = proxy.heads().len();
        assert_eq!(run(&text, image).await.results, "30");
        let wanted = format!("GET http://{host}{path} ");
        let heads = proxy.heads();
        assert!(heads[before].starts_with(&wanted), "{heads:?}");
    }
    let before = proxy.heads().len();
    let around = format!("{text}no_proxy = [\"127.0.0.1\"]");
    assert_eq!(run(&around, reference.to_string()).await.results, "30");
    assert_eq!(proxy.heads().len(), before);

    let broker = DevKeyBroker::start().await.unwrap();
    let mut config = broker.config();
    config.proxy = Some(Proxy::new(&proxy.url(), &[]).unwrap());
    let client = KbsClient::new(config, Arc::new(FakeSnp::new())).unwrap();
    broker.set_resource(&resource(), b"given");
    client.resource(&resource()).await.unwrap();
    let heads = proxy.heads();
    let wanted = format!("POST {}/kbs/v0/auth ", broker.url());
    assert!(heads[before].starts_with(&wanted), "{heads:?}");
}

/// Any server with a CA of its own stands for a mirror that knows no chip.
#[tokio::test]
async fn a_mirror_of_certificates_has_a_ca_of_its_own() {
    let mirror = Pccs::start(Mirrored::default()).await.unwrap();
    let other = Pccs::start(Mirrored::default()).await.unwrap();
    let client = |ca: Option<&str>| {
        KeyDistribution::new(&CertificateService {
            url: Url::parse(&mirror.url()).unwrap(),
            ca_pem: ca.map(str::to_owned),
            cache: None,
        })
        .unwrap()
    };
    let wanted = Endorsement {
        key: EndorsementKeyKind::Vcek,
        generation: Some(Generation::Milan),
        chip_id: [0xab; 64],
        tcb: Tcb {
            fmc: None,
            bootloader: 1,
            tee: 2,
            snp: 3,
            microcode: 4,
        },
    };
    assert_eq!(client(Some(mirror.ca_pem())).fetch(&wanted).await, Ok(None));
    assert_eq!(mirror.asked().len(), 1);
    for ca in [Some(other.ca_pem()), None] {
        let error = client(ca).fetch(&wanted).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert_eq!(
        mirror.asked().len(),
        1,
        "nothing is sent before the CA is known"
    );
}
