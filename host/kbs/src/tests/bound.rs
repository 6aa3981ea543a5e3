//! Sessions in which the KBS is told which component asks, by either way: against recorded exchanges with a stock
//! Trustee, and against the development key broker.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use proplet_jose::b64;
use proplet_jose::jwk::PrivateKey;
use proplet_testkit::kbs::{Asked, DevKeyBroker, Endpoint, Fault, Policy, Recorded};
use proplet_testkit::tee::FakeSnp;
use proplet_types::{Digest, ResourceUri};
use serde_json::{Value, json};
use url::Url;

use super::transport::{NOT_FOUND, tls_server};
use super::{RESOURCE, amiable, config, count, refusal, rewriting, sample, started, uri};
use crate::protocol::Requester;
use crate::{ComponentBound, Failure, KbsClient, KbsConfig, KbsError, PassportIssuer, Peer};

/// What the recorded resources hold.
const RECORDED: &str = "2e419d25bbd88e2931bd2682f108475fa348031293c8104bf679f17b005f59d4";

fn component(byte: u8) -> Requester {
    Requester {
        component_digest: Some(Digest::of(&[byte])),
        ..Requester::default()
    }
}

fn passport(url: &str) -> KbsConfig {
    let mut config = config(url);
    config.component_bound = Some(ComponentBound::Passport(PassportIssuer {
        url: Url::parse(url).unwrap(),
        ca_pem: None,
    }));
    config
}

fn additional_evidence(url: &str) -> KbsConfig {
    let mut config = config(url);
    config.component_bound = Some(ComponentBound::AdditionalEvidence);
    config
}

fn client(config: KbsConfig) -> KbsClient {
    KbsClient::new(config, sample()).unwrap()
}

// Recordings.

fn vectors() -> PathBuf {
    let folder = std::env::var_os("PROPLET_VECTORS").expect("PROPLET_VECTORS names the vectors");
    PathBuf::from(folder).join("passport")
}

fn recordings(name: &str) -> Vec<Recorded> {
    Recorded::folder(&vectors().join(name)).unwrap()
}

/// The key of the recordings, which is in SEC 1 form: DER of a fixed layout for this curve.
fn recorded_key() -> PrivateKey {
    use base64::Engine as _;
    let pem = vectors().join("01-right-digest-allowed/tee-key.pem");
    let pem = std::fs::read_to_string(pem).unwrap();
    let text: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap();
    let (d, point) = (&der[7..39], &der[der.len() - 64..]);
    PrivateKey::from_jwk(&json!({
        "kty": "EC",
        "crv": "P-256",
        "d": b64::encode(d),
        "x": b64::encode(&point[..32]),
        "y": b64::encode(&point[32..]),
    }))
    .unwrap()
}

/// A client that asks as the recorded one did: with its key and nonce.
async fn replaying(
    exchanges: &[Recorded],
    bound: fn(&str) -> KbsConfig,
    nonce: &str,
) -> (DevKeyBroker, KbsClient) {
    let server = DevKeyBroker::replay(exchanges).await.unwrap();
    let nonce = nonce.to_owned();
    let client = KbsClient::with_sources(
        bound(&server.url()),
        sample(),
        Box::new(|| Ok(recorded_key())),
        Box::new(move || Ok(nonce.clone())),
    );
    (server, client.unwrap())
}

fn body(exchange: &Recorded) -> Value {
    serde_json::from_slice(&exchange.request_body).unwrap()
}

/// The evidence decoded, since its members have no order.
fn comparable(mut request: Value) -> Value {
    let evidence = &mut request["verification_requests"][0]["evidence"];
    let decoded = b64::decode(evidence.as_str().unwrap()).unwrap();
    *evidence = serde_json::from_slice(&decoded).unwrap();
    request
}

fn resource(exchange: &Recorded) -> ResourceUri {
    let path = exchange.target.strip_prefix("/kbs/v0/resource/").unwrap();
    ResourceUri::from_path(path).unwrap()
}

fn recorded_workload(digest: &Value) -> Requester {
    Requester {
        component_digest: Some(digest.as_str().unwrap().parse().unwrap()),
        ..Requester::default()
    }
}

#[tokio::test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
async fn a_recorded_passport_opens_what_it_opened() {
    for (folder, skip, opens) in [
        // The service's challenge is empty for this TEE, and is not asked for.
        ("01-right-digest-allowed", 1, true),
        ("02-wrong-digest-denied", 0, false),
    ] {
        let exchanges = &recordings(folder)[skip..];
        let recorded = body(&exchanges[0]);
        let data = &recorded["verification_requests"][0]["runtime_data"]["structured"];
        let nonce = data["nonce"].as_str().unwrap();
        let workload = recorded_workload(&data["workload"]["component_digest"]);
        let (server, client) = replaying(exchanges, passport, nonce).await;
        for exchange in &exchanges[1..] {
            let answer = client
                .resource_for(&resource(exchange), &workload, None)
                .await;
            match answer {
                Ok(resource) => assert_eq!(hex::encode(&*resource.bytes), RECORDED),
                Err(error) => assert!(matches!(error, KbsError::Denied { .. }), "{error}"),
            }
        }
        assert!(client.live_session_for(&workload).is_some());
        let asked = server.requests();
        assert_eq!(asked.len(), exchanges.len(), "{folder}");
        for (ours, theirs) in asked.iter().zip(exchanges) {
            assert_eq!(
                (ours.method(), ours.target()),
                (&*theirs.method, &*theirs.target)
            );
            for name in ["authorization", "content-type", "cookie"] {
                assert_eq!(
                    ours.header(name),
                    theirs.request_header(name),
                    "{}",
                    theirs.file
                );
            }
        }
        assert_eq!(
            comparable(asked[0].json()),
            comparable(recorded.clone()),
            "{folder}"
        );
        // But for the order of the evidence's members, the request is the recorded one to the byte.
        let (ours, theirs) = (asked[0].json(), recorded);
        let evidence = |request: &Value| {
            let evidence = &request["verification_requests"][0]["evidence"];
            evidence.as_str().unwrap().to_owned()
        };
        let ours = String::from_utf8(asked[0].body().to_vec())
            .unwrap()
            .replace(&evidence(&ours), &evidence(&theirs));
        assert_eq!(ours.as_bytes(), exchanges[0].request_body, "{folder}");
        let released = exchanges[1..]
            .iter()
            .all(|exchange| exchange.reply.status == 200);
        assert_eq!(released, opens, "{folder}");
    }
}

#[tokio::test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
async fn a_replayed_passport_opens_nothing_without_the_key() {
    let exchanges = recordings("05-old-evidence-replayed-to-AS");
    let server = DevKeyBroker::replay(&exchanges).await.unwrap();
    let client = client(passport(&server.url()));
    let uri = resource(&exchanges[1]);
    let error = client
        .resource_for(&uri, &component(1), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot be opened"), "{error}");
}

#[tokio::test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
async fn recorded_additional_evidence_opens_what_it_opened() {
    let all = recordings("15-rcar-additional-evidence-carries-workload");
    for (exchanges, opens) in [(&all[..4], true), (&all[4..8], false)] {
        let recorded = body(&exchanges[1]);
        let text = recorded["tee-evidence"]["additional_evidence"]
            .as_str()
            .unwrap();
        let devices: Value = serde_json::from_str(text).unwrap();
        let workload = &devices["sampledevice"]["workload"]["component_digest"];
        let workload = recorded_workload(workload);
        let (server, client) = replaying(exchanges, additional_evidence, "").await;
        for exchange in &exchanges[2..] {
            match client
                .resource_for(&resource(exchange), &workload, None)
                .await
            {
                Ok(resource) => assert!(opens && !resource.bytes.is_empty()),
                Err(error) => assert!(
                    !opens && matches!(error, KbsError::Denied { .. }),
                    "{error}"
                ),
            }
        }
        let asked = server.requests();
        assert_eq!(asked.len(), exchanges.len());
        // The whole attestation, additional evidence and both report data included.
        assert_eq!(asked[1].json(), recorded);
    }
    // The digest was changed after the quote, and old evidence in a new session: the KBS refuses both.
    for exchanges in [&all[8..10], &all[10..12]] {
        let (_server, client) = replaying(exchanges, additional_evidence, "").await;
        let error = client
            .resource_for(&uri(), &component(1), None)
            .await
            .unwrap_err();
        assert!(matches!(error, KbsError::Rejected { .. }), "{error}");
    }
}

// The development key broker.

#[tokio::test]
async fn each_component_has_a_session_of_its_own() {
    for bound in [passport, additional_evidence] {
        let server = started(amiable(300)).await;
        let client = client(bound(&server.url()));
        assert!(client.is_component_bound());
        let (one, two) = (component(1), component(2));
        let first = client.resource_for(&uri(), &one, None).await.unwrap();
        assert_eq!(first.bytes.as_slice(), RESOURCE);
        assert_eq!(client.live_session_for(&one), Some(first.session));
        assert_eq!(client.live_session_for(&two), None);
        assert_eq!(client.live_session(), None);
        let second = client.resource_for(&uri(), &two, None).await.unwrap();
        let own = client.resource(&uri()).await.unwrap();
        let again = client.resource_for(&uri(), &one, None).await.unwrap();
        assert_eq!(again.session, first.session);
        let mut sessions = [first.session, second.session, own.session];
        sessions.sort();
        assert!(sessions[0] < sessions[1] && sessions[1] < sessions[2]);
        let handshakes = count(&server, "attest");
        assert_eq!(handshakes, 3, "one for each component and one for the VM");
    }
}

/// Has 120 new components ask that nobody knows: a burst of them attests, and then one a second.
async fn flood(server: &DevKeyBroker, client: &KbsClient, uri: &ResourceUri, is_released: bool) {
    let before = count(server, "attest");
    let began = tokio::time::Instant::now();
    let mut limited = 0;
    for number in 0..120 {
        match client.resource_for(uri, &component(number), None).await {
            Ok(_) => assert!(is_released),
            Err(KbsError::Denied { .. }) => assert!(!is_released),
            Err(KbsError::Limited { seconds }) => {
                assert!((1..=64).contains(&seconds), "{seconds}");
                limited += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let allowed = 64 + usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let handshakes = count(server, "attest") - before;
    assert!((64..=allowed).contains(&handshakes), "{handshakes}");
    assert_eq!(limited, 120 - handshakes);
}

/// Whoever starts tasks chooses the images, and each would cost a quote and a handshake.
#[tokio::test]
async fn components_that_nothing_is_released_to_attest_at_a_bounded_rate() {
    let server = started(amiable(300)).await;
    let client = client(passport(&server.url()));
    let (known, uri) = (component(255), uri());
    let owner = Some(uri.repository());
    client.resource_for(&uri, &known, owner).await.unwrap();
    server.set_policy(Policy::DenyAll);
    let foreign: ResourceUri = "kbs:///mallory/key/any".parse().unwrap();
    flood(&server, &client, &foreign, false).await;
    let words = KbsError::Limited { seconds: 7 };
    assert_eq!(words.code(), "kbs-limited");
    // Whose component is known is not among them: neither in its session nor with new components.
    server.set_policy(Policy::AllowAll);
    client.resource_for(&uri, &known, owner).await.unwrap();
    let new = component(254);
    client.resource_for(&uri, &new, owner).await.unwrap();
}

/// Anybody can make an image that names an owner's key, and a key broker that looks at no image releases the key.
#[tokio::test]
async fn who_names_an_owners_key_spends_nothing_of_the_owners() {
    let server = started(amiable(300)).await;
    let client = client(passport(&server.url()));
    let uri = uri();
    let owner = Some(uri.repository());
    client
        .resource_for(&uri, &component(255), owner)
        .await
        .unwrap();
    flood(&server, &client, &uri, true).await;
    for number in 200..250 {
        let new = component(number);
        client.resource_for(&uri, &new, owner).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_is_the_repositorys_that_something_was_released_of() {
    let server = started(amiable(300)).await;
    let client = client(passport(&server.url()));
    let missing: ResourceUri = "kbs:///other/key/missing".parse().unwrap();
    client
        .resource_for(&missing, &component(1), None)
        .await
        .unwrap_err();
    assert_eq!(client.owner_of(&component(1)), None);
    client
        .resource_for(&uri(), &component(1), None)
        .await
        .unwrap();
    let owner = client.owner_of(&component(1));
    assert_eq!(owner.as_deref(), Some(uri().repository()));
}

/// A TEE that its host has a hand in: what it reports changes.
struct Changing {
    reports: [FakeSnp; 2],
    now: AtomicUsize,
    is_hardware: bool,
}

impl Changing {
    fn new(is_hardware: bool) -> Arc<Self> {
        let other = FakeSnp::builder().measurement([7; 48]).build();
        Arc::new(Self {
            reports: [FakeSnp::new(), other],
            now: AtomicUsize::new(0),
            is_hardware,
        })
    }
}

#[async_trait]
impl TeeProvider for Changing {
    fn tee(&self) -> TeeName {
        TeeName::SNP
    }

    fn attester(&self) -> &str {
        "changing"
    }

    fn is_hardware(&self) -> bool {
        self.is_hardware
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        let now = self.now.load(Ordering::Relaxed);
        self.reports[now].evidence(report_data).await
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}

#[tokio::test]
async fn only_sessions_that_differ_by_the_component_alone_tell_what_it_is_granted() {
    for bound in [passport, additional_evidence] {
        let server = started(amiable(300)).await;
        let tee = Changing::new(false);
        let client = KbsClient::new(bound(&server.url()), tee.clone()).unwrap();
        let (one, two) = (component(1), component(2));
        client.resource(&uri()).await.unwrap();
        let own = client.live_session().unwrap();
        assert!(!client.is_told_apart_by_component(&one, own), "it has none");
        let first = client.resource_for(&uri(), &one, None).await.unwrap();
        assert!(client.is_told_apart_by_component(&one, own));
        assert!(!client.is_told_apart_by_component(&one, first.session));
        // The hypervisor has something else reported.
        tee.now.store(1, Ordering::Relaxed);
        client.resource_for(&uri(), &two, None).await.unwrap();
        assert!(!client.is_told_apart_by_component(&two, own));
        assert!(client.is_told_apart_by_component(&one, own));

        // Whoever is on the way can deny in the KBS's name.
        let client = KbsClient::new(bound(&server.url()), Changing::new(true)).unwrap();
        client.resource(&uri()).await.unwrap();
        client.resource_for(&uri(), &one, None).await.unwrap();
        let own = client.live_session().unwrap();
        assert!(!client.is_told_apart_by_component(&one, own));
    }
}

#[tokio::test]
async fn a_key_broker_that_is_not_told_sees_one_session() {
    let server = started(amiable(300)).await;
    let client = client(config(&server.url()));
    assert!(!client.is_component_bound());
    let one = client
        .resource_for(&uri(), &component(1), None)
        .await
        .unwrap();
    let two = client
        .resource_for(&uri(), &component(2), None)
        .await
        .unwrap();
    assert_eq!(one.session, two.session);
    assert_eq!(
        client.live_session(),
        client.live_session_for(&component(3))
    );
    assert_eq!(count(&server, "attest"), 1);
    let attest = server.requests();
    let attest = attest
        .iter()
        .find(|asked| asked.endpoint() == "attest")
        .unwrap();
    assert_eq!(attest.json()["tee-evidence"]["additional_evidence"], "");
}

#[tokio::test]
async fn a_component_is_named_by_texts_only() {
    let server = started(amiable(300)).await;
    let client = client(passport(&server.url()));
    let workload = Requester {
        component_digest: Some(Digest::of(b"component")),
        image_digest: Some(Digest::of(b"image")),
        policy_digest: Some(Digest::of(b"policy")),
    };
    client.resource_for(&uri(), &workload, None).await.unwrap();
    let requests = server.requests();
    let request = requests[0].json();
    let structured = &request["verification_requests"][0]["runtime_data"]["structured"];
    assert_eq!(
        structured["workload"],
        json!({
            "component_digest": Digest::of(b"component").to_string(),
            "image_digest": Digest::of(b"image").to_string(),
            "policy_digest": Digest::of(b"policy").to_string(),
        })
    );
    let members: Vec<&String> = structured.as_object().unwrap().keys().collect();
    assert_eq!(members, ["nonce", "tee-pubkey", "workload"]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_made_anew_once() {
    let server = rewriting(|asked, good| match asked.endpoint() {
        "attestation" => good,
        _ => refusal("TokenVerifierError"),
    })
    .await;
    let client = client(passport(&server.url()));
    let error = client
        .resource_for(&uri(), &component(1), None)
        .await
        .unwrap_err();
    assert!(matches!(error, KbsError::TokenRefused { .. }), "{error}");
    assert_eq!(count(&server, "attestation"), 2);
    assert_eq!(count(&server, "resource"), 2);
    let shown = |asked: &Asked| asked.header("authorization").map(str::to_owned);
    let requests = server.requests();
    assert!(shown(&requests[0]).is_none() && requests[0].header("cookie").is_none());
    assert!(shown(&requests[1]).unwrap().starts_with("Bearer "));
    assert!(requests[1].header("cookie").is_none());
}

/// What becomes of a fault of the attestation service.
async fn with_fault(fault: Fault) -> (KbsError, u64) {
    let server = started(amiable(300)).await;
    server.inject(Endpoint::Service, fault);
    let mut config = passport(&server.url());
    // Room for one more try and for no third: what answers decides then, and not the deadline.
    config.timeout = std::time::Duration::from_secs(3);
    config.retry_delay = std::time::Duration::from_secs(2);
    let error = client(config)
        .resource_for(&uri(), &component(1), None)
        .await;
    (error.unwrap_err(), server.counts().passports)
}

#[tokio::test]
async fn what_the_attestation_service_refuses_is_not_asked_again() {
    let server = started(amiable(300).policy(Policy::AllowAll)).await;
    let mut config = passport(&server.url());
    config.retry_delay = std::time::Duration::from_millis(1);
    // Sample evidence without the broker's leave.
    let strict = DevKeyBroker::start().await.unwrap();
    config.component_bound = passport(&strict.url()).component_bound;
    let error = client(config)
        .resource_for(&uri(), &component(1), None)
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, KbsError::ServiceRefused { .. }), "{error}");
    assert_eq!(error.code(), "attestation-service-refused");
    assert!(error.to_string().contains("sample"), "{error}");
    assert_eq!(strict.counts().passports, 1);

    let (error, asked) = with_fault(Fault::Status(500)).await;
    assert!(matches!(error, KbsError::ServiceRefused { .. }), "{error}");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn trouble_of_the_attestation_service_is_told_from_that_of_the_key_broker() {
    for (status, failure, again) in [
        (503, Failure::Status(503), true),
        (429, Failure::Status(429), true),
        (404, Failure::WrongPath, false),
        (413, Failure::PayloadTooLarge, false),
    ] {
        let (error, asked) = with_fault(Fault::Status(status)).await;
        let KbsError::Unavailable {
            peer, failure: is, ..
        } = &error
        else {
            panic!("{status}: {error}");
        };
        assert_eq!((*peer, *is), (Peer::AttestationService, failure));
        assert_eq!(error.code(), "attestation-service-unavailable");
        assert!(error.to_string().starts_with("the attestation service at"));
        assert_eq!(asked > 1, again, "{status}");
    }
    for fault in [
        Fault::Garbage,
        Fault::Status(400),
        Fault::Redirect("http://x".to_owned()),
    ] {
        let (error, asked) = with_fault(fault).await;
        assert!(matches!(error, KbsError::ServiceProtocol { .. }), "{error}");
        assert_eq!(
            (error.code(), asked),
            ("attestation-service-refused".parse().unwrap(), 1)
        );
    }
}

#[tokio::test]
async fn a_token_that_no_header_holds_is_named() {
    let (error, _) = with_fault(Fault::Oversize(70_000)).await;
    let KbsError::TokenTooLarge { bytes } = error else {
        panic!("{error}");
    };
    assert!(bytes > 64 * 1024);
    let server = started(amiable(300)).await;
    server.inject(Endpoint::Resource, Fault::Status(431));
    let client = client(passport(&server.url()));
    let error = client
        .resource_for(&uri(), &component(1), None)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "kbs-token-too-large");
    assert!(!error.to_string().contains("eyJ"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_over_opens_nothing() {
    let server = started(amiable(0)).await;
    let client = client(passport(&server.url()));
    let error = client
        .resource_for(&uri(), &component(1), None)
        .await
        .unwrap_err();
    assert!(matches!(error, KbsError::ServiceProtocol { .. }), "{error}");
    assert_eq!(count(&server, "resource"), 0);
}

#[tokio::test]
async fn key_broker_and_attestation_service_have_cas_of_their_own() {
    let payload = b64::encode(br#"{"iat":1,"exp":301}"#);
    let token = format!("e30.{payload}.AAAA");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{token}",
        token.len()
    );
    let outcome = |swapped: bool| {
        let (broker, service) = (tls_server(NOT_FOUND), tls_server(answer.clone()));
        let mut config = config(&broker.url);
        config.allow_http = false;
        config.timeout = std::time::Duration::from_secs(10);
        let (of_broker, of_service) = (broker.ca_pem, service.ca_pem);
        config.ca_pem = Some(of_broker.clone());
        config.component_bound = Some(ComponentBound::Passport(PassportIssuer {
            url: Url::parse(&service.url).unwrap(),
            ca_pem: Some(if swapped { of_broker } else { of_service }),
        }));
        async move {
            let error = client(config)
                .resource_for(&uri(), &component(1), None)
                .await;
            let KbsError::Unavailable { peer, failure, .. } = error.unwrap_err() else {
                panic!("no other error");
            };
            drop((broker.thread, service.thread));
            (peer, failure)
        }
    };
    // With both CAs, the token is there, and the key broker is asked, which has no such path.
    assert_eq!(outcome(false).await, (Peer::KeyBroker, Failure::WrongPath));
    assert_eq!(
        outcome(true).await,
        (Peer::AttestationService, Failure::Tls)
    );
}

#[test]
fn an_attestation_service_over_plain_http_must_be_allowed() {
    let mut config = passport("http://127.0.0.1:1");
    config.url = Url::parse("https://127.0.0.1:1").unwrap();
    config.allow_http = false;
    let error = KbsClient::new(config, Arc::clone(&sample()) as _).unwrap_err();
    assert_eq!(error.code(), "kbs-config");
    assert!(
        error.to_string().contains("attestation service URL"),
        "{error}"
    );
}

#[tokio::test]
async fn an_attestation_service_that_hangs_is_named() {
    let server = started(amiable(300)).await;
    server.inject(Endpoint::Service, Fault::Silence);
    let mut config = passport(&server.url());
    config.timeout = std::time::Duration::from_secs(1);
    let error = client(config)
        .resource_for(&uri(), &component(1), None)
        .await;
    let KbsError::Unavailable { peer, failure, .. } = error.unwrap_err() else {
        panic!("no other error");
    };
    assert_eq!(
        (peer, failure),
        (Peer::AttestationService, Failure::Timeout)
    );
}
