//! Component-bound release, by both ways: the key broker's policy grants to digests, as the files in `docs/trustee`
//! do, and what one component gets no other does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{RunningProplet, Services, workload::EncryptedComponent};
use proplet_results::EvidenceBundle;
use proplet_testkit::{
    guests::GuestName,
    kbs::{Asked, DevKeyBroker, DevKeyBrokerBuilder, Policy},
    tee::FakeSnp,
};
use proplet_types::Digest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::*;

const PASSPORT: &str = include_str!("../../../../docs/trustee/passport.rego");
const ADDITIONAL_EVIDENCE: &str = include_str!("../../../../docs/trustee/additional-evidence.rego");

/// Another owner's resource, which its owner lets alice's component have.
const SHARED: &str = "kbs:///bob/data/shared";
const SHARED_BYTES: &str = "CANARY-4712-of-bob";

#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Passport,
    AdditionalEvidence,
}

const WAYS: [Way; 2] = [Way::Passport, Way::AdditionalEvidence];

impl Way {
    /// Members of `[kbs]`.
    fn settings(self, key_broker: &str) -> String {
        match self {
            Self::Passport => {
                format!("component_bound = \"passport\"\nattestation_service = {key_broker:?}\n")
            }
            Self::AdditionalEvidence => "component_bound = \"additional-evidence\"\n".to_owned(),
        }
    }

    /// The policy of `docs/trustee` with these tables.
    fn policy(self, image_keys: &[(&str, Digest)], secrets: &[(&str, Digest)]) -> Policy {
        let file = match self {
            Self::Passport => PASSPORT,
            Self::AdditionalEvidence => ADDITIONAL_EVIDENCE,
        };
        let file = with_table(file, "image_keys", image_keys);
        Policy::from_rego(&with_table(&file, "secrets", secrets)).unwrap()
    }
}

fn with_table(file: &str, name: &str, entries: &[(&str, Digest)]) -> String {
    let (before, rest) = file.split_once(&format!("\n{name} := {{\n")).unwrap();
    let (_, after) = rest.split_once("\n}\n").unwrap();
    let entries: String = entries
        .iter()
        .map(|(at, digest)| format!("\t[{:?}, \"{digest}\"],\n", uri(at).path()))
        .collect();
    format!("{before}\n{name} := {{\n{entries}}}\n{after}")
}

/// A key broker for which the fake's measurement is a reference value.
fn broker() -> DevKeyBrokerBuilder {
    DevKeyBroker::builder()
        .reference_measurement(&FakeSnp::MEASUREMENT)
        .remember_requests()
}

async fn scene(way: Way, broker: DevKeyBrokerBuilder) -> Scene {
    let services = Services::with(broker.start().await.unwrap()).await.unwrap();
    let settings = way.settings(&services.key_broker.url());
    let scene = Scene::among(services, &settings).await;
    let broker = &scene.services.key_broker;
    broker.set_resource(&uri(SHARED), SHARED_BYTES.as_bytes());
    scene
}

/// Two components of alice's: one key repository, one VM, and policies that name the same secrets.
struct Pair {
    a: (EncryptedComponent, ImageReference),
    b: (EncryptedComponent, ImageReference),
}

impl Pair {
    async fn publish(scene: &Scene) -> Self {
        let probe = guest(GuestName::SecretProbe).await;
        let secrets = revealing(&[SECRET, SHARED, "kbs:///bob/key/module"]);
        let one = scene.policy(&secrets);
        let other = scene.policy(&format!("exports = [\"run\"]\n{secrets}"));
        Self {
            a: scene.publish_as(&probe, &one, "kbs:///alice/key/a").await,
            b: scene.publish_as(&probe, &other, "kbs:///alice/key/b").await,
        }
    }

    /// Keys for both images, and these secrets for the first component alone.
    fn policy(&self, way: Way, secrets: &[&str]) -> Policy {
        let (a, b) = (&self.a.0, &self.b.0);
        assert_ne!(a.component_digest(), b.component_digest());
        let keys = [
            ("kbs:///alice/key/a", a.image_digest()),
            ("kbs:///alice/key/b", b.image_digest()),
        ];
        let secrets: Vec<_> = secrets
            .iter()
            .map(|at| (*at, a.component_digest()))
            .collect();
        way.policy(&keys, &secrets)
    }
}

fn reveal(at: &str) -> String {
    format!("reveal {at}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_one_component_is_no_other_components() {
    for way in WAYS {
        let scene = scene(way, broker()).await;
        let pair = Pair::publish(&scene).await;
        scene
            .services
            .key_broker
            .set_policy(pair.policy(way, &[SECRET]));
        let denied = "refuses the secret to this host";
        // Before the other has it, while the other's is in memory, and again.
        for round in 0..2 {
            let failure = scene
                .ask_in_vain(&pair.b.1, &reveal(SECRET), "guest-failed")
                .await;
            assert!(
                failure.error.contains(denied),
                "{way:?} {round}: {}",
                failure.error
            );
            let given = scene.ask(&pair.a.1, &reveal(SECRET)).await;
            assert_eq!(given, CANARY.as_bytes(), "{way:?}");
        }
        // What it is not granted it does not get either.
        let failure = scene
            .ask_in_vain(&pair.a.1, &reveal(SHARED), "guest-failed")
            .await;
        assert!(failure.error.contains(denied), "{}", failure.error);
        assert!(!scene.was_told(CANARY));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_an_image_is_released_to_that_image_alone() {
    for way in WAYS {
        let scene = scene(way, broker()).await;
        let pair = Pair::publish(&scene).await;
        let a = &pair.a.0;
        let keys = [("kbs:///alice/key/a", a.image_digest())];
        let secrets = [(SECRET, a.component_digest())];
        scene
            .services
            .key_broker
            .set_policy(way.policy(&keys, &secrets));
        assert_eq!(
            scene.ask(&pair.a.1, &reveal(SECRET)).await,
            CANARY.as_bytes()
        );
        assert_refused(&scene.run(&task(&pair.b.1, &["x"])).await, "kbs-denied");
        // The same component under the same key, in another image.
        let again =
            EncryptedComponent::encrypt(&a.component, None, uri("kbs:///alice/key/a")).unwrap();
        assert_ne!(again.image_digest(), a.image_digest());
        let mut again = again;
        again.key.copy_from_slice(a.key.as_ref());
        let probe = proplet_image::Artifact::wasm(a.component.clone().into()).unwrap();
        again.image =
            proplet_image::encrypt::encrypt(&probe, a.key.as_ref(), &again.key_id).unwrap();
        let host = scene.services.registry.host();
        let reference: ImageReference = format!("{host}/again:v1").parse().unwrap();
        let config = proplet_lab::workload::registry_over_http(&host);
        let image = again.push(&config, &reference).await.unwrap();
        assert_refused(&scene.run(&task(&image, &["x"])).await, "kbs-denied");
        // The key was asked for with the image alone, the secret with image, component and policy.
        let workloads = workloads(way, &scene.services.key_broker.requests());
        let image =
            |workload: &EncryptedComponent| json!({ "image_digest": workload.image_digest() });
        assert!(workloads.contains(&image(a)) && workloads.contains(&image(&pair.b.0)));
        let component = workloads
            .iter()
            .find(|workload| workload["component_digest"] == json!(a.component_digest()))
            .unwrap();
        assert_eq!(component["image_digest"], json!(a.image_digest()));
        assert!(component["policy_digest"].is_string());
        assert_eq!(workloads.len(), 4, "{way:?}: {workloads:?}");
    }
}

/// What the key broker was told of components, in order.
fn workloads(way: Way, requests: &[Asked]) -> Vec<Value> {
    let told = |asked: &Asked| {
        let body = asked.json();
        match (way, asked.endpoint()) {
            (Way::Passport, "attestation") => {
                let data = &body["verification_requests"][0]["runtime_data"]["structured"];
                Some(data["workload"].clone())
            }
            (Way::AdditionalEvidence, "attest") => {
                let text = body["tee-evidence"]["additional_evidence"]
                    .as_str()
                    .unwrap();
                let devices: Value = serde_json::from_str(text).unwrap_or_default();
                Some(devices["sampledevice"]["workload"].clone())
            }
            _ => None,
        }
    };
    let told = requests.iter().filter_map(told);
    told.filter(|workload| !workload.is_null()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_owners_resource_is_in_reach_of_the_component_that_was_granted_it() {
    for way in WAYS {
        let scene = scene(way, broker()).await;
        let broker = &scene.services.key_broker;
        let pair = Pair::publish(&scene).await;
        broker.set_policy(pair.policy(way, &[SECRET, SHARED]));
        let given = scene.ask(&pair.a.1, &reveal(SHARED)).await;
        assert_eq!(given, SHARED_BYTES.as_bytes(), "{way:?}");
        for (image, at, words) in [
            // Granted to the other one.
            (&pair.b.1, SHARED, "refuses the secret"),
            // A key that decrypts images, whatever the policies say.
            (&pair.a.1, "kbs:///bob/key/module", "decrypt images"),
            // Not named by the component's own policy.
            (&pair.a.1, "kbs:///bob/data/other", "does not grant"),
        ] {
            let failure = scene.ask_in_vain(image, &reveal(at), "guest-failed").await;
            assert!(failure.error.contains(words), "{at}: {}", failure.error);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_looks_at_no_digest_opens_no_other_repository() {
    for way in WAYS {
        let scene = scene(way, broker()).await;
        let pair = Pair::publish(&scene).await;
        // Trustee's own policy: everything to every VM.
        for policy in [Policy::Default, Policy::AllowAll] {
            scene.services.key_broker.set_policy(policy);
            assert_eq!(
                scene.ask(&pair.a.1, &reveal(SECRET)).await,
                CANARY.as_bytes()
            );
            let failure = scene
                .ask_in_vain(&pair.a.1, &reveal(SHARED), "guest-failed")
                .await;
            let words = "releases it to whatever runs in this VM";
            assert!(failure.error.contains(words), "{way:?}: {}", failure.error);
        }
    }
    // And where the key broker is not told, nothing does.
    let scene = Scene::new().await;
    let pair = Pair::publish(&scene).await;
    let failure = scene
        .ask_in_vain(&pair.a.1, &reveal(SHARED), "guest-failed")
        .await;
    let words = "of the key that decrypted this component";
    assert!(failure.error.contains(words), "{}", failure.error);
    assert!(
        !failure.error.contains("whatever runs"),
        "{}",
        failure.error
    );
}

/// The fake, of which the hypervisor has something else reported while it likes.
struct Meddled {
    tee: Arc<FakeSnp>,
    other: FakeSnp,
    is_other: AtomicBool,
}

#[async_trait]
impl TeeProvider for Meddled {
    fn tee(&self) -> TeeName {
        self.tee.tee()
    }

    fn attester(&self) -> &str {
        self.tee.attester()
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        match self.is_other.load(Ordering::Relaxed) {
            true => self.other.evidence(report_data).await,
            false => self.tee.evidence(report_data).await,
        }
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        self.tee.init_data().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_that_the_hypervisor_brings_about_opens_no_other_repository() {
    for way in WAYS {
        let services = Services::with(broker().start().await.unwrap())
            .await
            .unwrap();
        let settings = services.settings(&way.settings(&services.key_broker.url()));
        let tee = Arc::new(FakeSnp::new());
        let meddled = Arc::new(Meddled {
            tee: Arc::clone(&tee),
            other: FakeSnp::builder().measurement([7; 48]).build(),
            is_other: AtomicBool::new(false),
        });
        let proplet = RunningProplet::start(&settings, Some(meddled.clone())).unwrap();
        let scene = Scene::of(services, proplet, tee).await;
        let key_broker = &scene.services.key_broker;
        key_broker.set_resource(&uri(SHARED), SHARED_BYTES.as_bytes());
        let pair = Pair::publish(&scene).await;
        // A policy that looks at the VM, and at no component.
        let measurement = hex::encode(FakeSnp::MEASUREMENT);
        key_broker.set_policy(Policy::predicate(move |request| {
            request.measurement() == Some(measurement.as_str())
        }));
        let given = scene.ask(&pair.a.1, &reveal(SECRET)).await;
        assert_eq!(given, CANARY.as_bytes());
        // The component has its session, and the VM's own is made now.
        meddled.is_other.store(true, Ordering::Relaxed);
        let failure = scene
            .ask_in_vain(&pair.a.1, &reveal(SHARED), "guest-failed")
            .await;
        let words = "another reason than the component";
        assert!(failure.error.contains(words), "{way:?}: {}", failure.error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_released_to_a_component_dies_with_its_session() {
    for way in WAYS {
        let scene = scene(way, broker().token_lifetime(Duration::from_secs(3))).await;
        let broker = &scene.services.key_broker;
        let pair = Pair::publish(&scene).await;
        broker.set_policy(pair.policy(way, &[SECRET]));
        let start = || task(&pair.a.1, &[&reveal(SECRET)]);
        let mut outcome = scene.run(&start()).await;
        while outcome.error.is_some() {
            // A slow machine takes longer than a session lives.
            assert_code(&outcome, "session-ended");
            outcome = scene.run(&start()).await;
        }
        broker.set_policy(Policy::DenyAll);
        while outcome.error.is_none() {
            outcome = scene.run(&start()).await;
        }
        assert_refused(&scene.run(&start()).await, "kbs-denied");
    }
}

/// What a component says of everything that it can reach, and its evidence over a challenge.
async fn everything_said(scene: &Scene, image: &ImageReference, challenge: &[u8]) -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    let attest = format!("attest {}", hex::encode(challenge));
    for input in ["identity", "inputs", "env", "args", "recipients", &attest] {
        said.push(scene.ask(image, input).await);
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reaches_neither_token_nor_report_data() {
    for way in WAYS {
        let scene = scene(way, broker()).await;
        let hostile = guest(GuestName::Hostile).await;
        let (workload, image) = scene.publish(&hostile, &revealing(&[SECRET])).await;
        let probe = guest(GuestName::SecretProbe).await;
        let (victim, victims) = scene
            .publish_as(
                &probe,
                &scene.policy(&revealing(&[SECRET])),
                "kbs:///alice/key/v",
            )
            .await;
        let keys = [
            (KEY, workload.image_digest()),
            ("kbs:///alice/key/v", victim.image_digest()),
        ];
        let secrets = [(SECRET, victim.component_digest())];
        scene
            .services
            .key_broker
            .set_policy(way.policy(&keys, &secrets));
        assert_eq!(
            scene.ask(&victims, &reveal(SECRET)).await,
            CANARY.as_bytes()
        );

        // The digest of what the host would sign for the victim, with a key of the attacker's.
        let key = PrivateKey::generate_p256().unwrap();
        let mut jwk = key.public().to_jwk();
        jwk["alg"] = "ECDH-ES+A256KW".into();
        let wanted = json!({
            "nonce": "bm9uY2U=",
            "tee-pubkey": jwk,
            "workload": { "component_digest": victim.component_digest() },
        });
        let text = proplet_jose::jcs::to_string(&wanted).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA384, text.as_bytes());
        let said = everything_said(&scene, &image, digest.as_ref()).await;

        // No credential that went to the key broker is in anything that the component saw.
        let requests = scene.services.key_broker.requests();
        let credentials: Vec<String> = requests
            .iter()
            .flat_map(|asked| ["authorization", "cookie"].map(|name| asked.header(name)))
            .flatten()
            .flat_map(|header| header.split(['.', '=', ' ']))
            .filter(|part| part.len() > 30)
            .map(str::to_owned)
            .collect();
        assert!(credentials.len() > 2);
        for said in &said {
            for credential in &credentials {
                assert!(!contains(said, credential.as_bytes()), "{way:?}");
            }
        }

        // The evidence is over the host's object, in which the digest is the caller's challenge and no more.
        let bundle: EvidenceBundle = std::str::from_utf8(said.last().unwrap())
            .unwrap()
            .parse()
            .unwrap();
        assert!(!bundle.claims.contains_key("tee-pubkey"));
        assert!(!bundle.claims.contains_key("workload"));
        let challenge = URL_SAFE_NO_PAD.encode(digest.as_ref());
        assert_eq!(bundle.claims["eat_nonce"], json!(challenge));
        let service = Service::of(&scene);
        for algorithm in ["sha256", "sha384", "sha512"] {
            let answer = service.ask(&bundle, &wanted, algorithm).await;
            assert!(answer.starts_with("HTTP/1.1 500"), "{algorithm}: {answer}");
        }
        // Over what it truly is, there is a token: it names no key that anything could be released to.
        let claims = Value::Object(bundle.claims.clone());
        let answer = service.ask(&bundle, &claims, "sha512").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let token = answer.rsplit("\r\n\r\n").next().unwrap().trim();
        let answer = service.get(uri(SECRET).path(), token).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        scene.services.key_broker.set_policy(Policy::AllowAll);
        let answer = service.get(uri(SECRET).path(), token).await;
        assert!(answer.contains("JweError"), "{answer}");
    }
}

/// Attestation service and key broker, as anybody in the network reaches them.
struct Service(String);

impl Service {
    fn of(scene: &Scene) -> Self {
        Self(scene.services.key_broker.address().to_string())
    }

    /// Asks for a token about this evidence over this object.
    async fn ask(&self, bundle: &EvidenceBundle, structured: &Value, algorithm: &str) -> String {
        let body = json!({
            "verification_requests": [{
                "tee": bundle.tee,
                "evidence": URL_SAFE_NO_PAD.encode(bundle.evidence.to_string()),
                "runtime_data": { "structured": structured },
                "runtime_data_hash_algorithm": algorithm,
            }],
            "policy_ids": [],
        })
        .to_string();
        let length = body.len();
        let head = format!("POST /attestation HTTP/1.1\r\ncontent-length: {length}\r\n");
        self.exchange(&head, &body).await
    }

    async fn get(&self, path: &str, token: &str) -> String {
        let head =
            format!("GET /kbs/v0/resource/{path} HTTP/1.1\r\nauthorization: Bearer {token}\r\n");
        self.exchange(&head, "").await
    }

    async fn exchange(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.0).await.unwrap();
        let host = &self.0;
        let request = format!("{head}host: {host}\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
