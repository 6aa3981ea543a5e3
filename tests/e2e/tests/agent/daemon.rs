//! The daemon serves what its settings ask for, for as long as it runs.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;

use proplet_agent::attestation::AgentClaims;
use proplet_agent::messages::{GetEvidenceRequest, GetEvidenceResponse, GetTeeTypeResponse};
use proplet_executor::{Host, harden::SwapRule};
use proplet_hal::verify::verify;
use proplet_hal::{Evidence, Flavour, TeeName};
use proplet_lab::{LabError, RunningProplet, Services};
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::broker::Task;
use proplet_testkit::grpc::GrpcClient;
use proplet_testkit::ports::free_address;
use proplet_testkit::tee::{FakeSnp, test_trust};
use prost::Message as _;
use tokio::net::TcpStream;

use super::support::*;

fn free() -> SocketAddr {
    free_address().unwrap()
}

fn settings(services: &Services, agent: &str) -> String {
    services.settings(&format!("[confidential]\ntasks = false\n[agent]\n{agent}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_both_interfaces_until_it_stops() {
    let services = Services::start().await.unwrap();
    let (attestation, key_provider) = (free(), free());
    let settings = settings(
        &services,
        &format!(
            "attestation = true\nattestation_address = \"{attestation}\"\nkey_provider = true\n\
             key_provider_address = \"{key_provider}\"\n"
        ),
    );
    let proplet = RunningProplet::start(&settings, Some(Arc::new(FakeSnp::new()))).unwrap();
    services
        .manager
        .messages("control/proplet/alive", 1)
        .await
        .unwrap();

    let client = GrpcClient::connect(attestation).await.unwrap();
    let path = format!("{ATTESTATION_AGENT}/GetTeeType");
    let answer = client.call(&path, &[]).await.unwrap().unwrap();
    let answer = GetTeeTypeResponse::decode(answer.as_slice()).unwrap();
    assert_eq!(answer.tee, "snp");
    let client = GrpcClient::connect(key_provider).await.unwrap();
    let path = format!("{KEY_PROVIDER}/UnWrapKey");
    let refusal = client.call(&path, &[]).await.unwrap().unwrap_err();
    assert_eq!(refusal.code, INVALID_ARGUMENT);

    proplet.stop().await.unwrap();
    for address in [attestation, key_provider] {
        TcpStream::connect(address).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_get_evidence_where_the_settings_say_so() {
    let services = Services::start().await.unwrap();
    let port = free().port();
    let settings = settings(
        &services,
        &format!(
            "attestation = true\nevidence_from_outside = true\nattestation_address = \"0.0.0.0:{port}\"\n"
        ),
    );
    let proplet = RunningProplet::start(&settings, Some(Arc::new(FakeSnp::new()))).unwrap();
    services
        .manager
        .messages("control/proplet/alive", 1)
        .await
        .unwrap();
    // Another address of this machine than the one that is listened on without the setting.
    let outside = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    let client = GrpcClient::connect(outside).await.unwrap();
    let path = format!("{ATTESTATION_AGENT}/GetTeeType");
    let answer = client.call(&path, &[]).await.unwrap().unwrap();
    let answer = GetTeeTypeResponse::decode(answer.as_slice()).unwrap();
    assert_eq!(answer.tee, "snp");
    let path = format!("{ATTESTATION_AGENT}/BindInitData");
    let refusal = client.call(&path, &[]).await.unwrap().unwrap_err();
    assert_eq!(refusal.code, UNIMPLEMENTED);
    proplet.stop().await.unwrap();
    TcpStream::connect(outside).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_being_asked_it_serves_none() {
    let services = Services::start().await.unwrap();
    // Whoever has them now, it is not the daemon, which would not start if it wanted one of them.
    let _taken = [50_010, 50_011].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    let settings = settings(&services, "");
    let proplet = RunningProplet::start(&settings, Some(Arc::new(FakeSnp::new()))).unwrap();
    services
        .manager
        .messages("control/proplet/alive", 1)
        .await
        .unwrap();
    proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_led_to_it() {
    let services = Services::start().await.unwrap();
    let address = free();
    let settings = settings(
        &services,
        &format!("attestation = true\nattestation_address = \"{address}\"\n"),
    );
    let tee = Arc::new(FakeSnp::new());
    let proplet = RunningProplet::start(&settings, Some(tee.clone())).unwrap();
    services
        .manager
        .messages("control/proplet/alive", 1)
        .await
        .unwrap();
    for (id, image) in [
        ("registry", format!("{address}/a/b:1")),
        ("localhost", format!("localhost:{}/a/b:1", address.port())),
        (
            "http",
            format!("http://{address}{ATTESTATION_AGENT}/GetEvidence"),
        ),
        ("https", format!("https://{address}/c.wasm")),
    ] {
        let task = Task {
            id: id.to_owned(),
            name: "led-astray".to_owned(),
            image_url: image.clone(),
            ..Task::default()
        };
        services.manager.start(&task).await.unwrap();
        let error = services.manager.result(id).await.unwrap().error.unwrap();
        assert!(error.starts_with("image-not-allowed: "), "{image}: {error}");
    }
    assert_eq!(tee.evidence_calls(), 0);
    proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_ends_the_start() {
    let services = Services::start().await.unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let settings = settings(
        &services,
        &format!("attestation = true\nattestation_address = \"{address}\"\n"),
    );
    let proplet = RunningProplet::start(&settings, Some(Arc::new(FakeSnp::new()))).unwrap();
    let error = proplet.stop().await.unwrap_err();
    assert!(matches!(error, LabError::Daemon(_)), "{error}");
    assert!(error.to_string().contains("cannot listen on"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_evidence_says_that_the_image_is_of_the_debug_flavour() {
    let services = Services::start().await.unwrap();
    let address = free();
    let settings = settings(
        &services,
        &format!("attestation = true\nattestation_address = \"{address}\"\n"),
    );
    let settings = Settings::parse(Some(&settings), &Environment::default()).unwrap();
    let mut host = Host::new(Arc::new(settings), Some(Arc::new(FakeSnp::new())));
    host.swap_rule = SwapRule::Warn;
    host.flavour = Flavour::Debug;
    let proplet = RunningProplet::on(host).unwrap();
    services
        .manager
        .messages("control/proplet/alive", 1)
        .await
        .unwrap();
    let client = GrpcClient::connect(address).await.unwrap();
    let request = GetEvidenceRequest {
        runtime_data: vec![7; 32],
    };
    let path = format!("{ATTESTATION_AGENT}/GetEvidence");
    let answer = client.call(&path, &request.encode_to_vec()).await;
    let answer = GetEvidenceResponse::decode(answer.unwrap().unwrap().as_slice()).unwrap();
    let evidence = Evidence {
        tee: TeeName::SNP,
        evidence: serde_json::from_slice(&answer.evidence).unwrap(),
    };
    let verified = verify(&evidence, &test_trust(), SystemTime::now()).unwrap();
    let claims = AgentClaims::new(&[7; 32]).unwrap();
    assert!(!verified.binds(&claims.report_data().unwrap()));
    let claims = claims.with_flavour(Flavour::Debug);
    assert!(verified.binds(&claims.report_data().unwrap()));
    proplet.stop().await.unwrap();
}
