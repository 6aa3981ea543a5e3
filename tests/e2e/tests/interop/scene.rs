//! A deployment whose broker and registry are other projects' servers.

use std::sync::Arc;

use proplet_hal::{InitData, TeeProvider};
use proplet_image::{Artifact, ImageReference, encrypt, media};
use proplet_jose::jwk::PrivateKey;
use proplet_lab::owner::open_result;
use proplet_lab::workload::{EncryptedComponent, with_recipients};
use proplet_lab::{Addresses, CHANNEL, KEY_ID, PROPLET, RunningProplet, TENANT};
use proplet_results::digest::{of_arguments, of_inputs};
use proplet_results::verify::Expectations;
use proplet_settings::Settings;
use proplet_testkit::broker::{Manager, Outcome, Task};
use proplet_testkit::guests::{
    GuestName, INFERENCE_POLICY, INFERENCE_WEIGHTS, INFERENCE_WEIGHTS_URI, build,
};
use proplet_testkit::kbs::DevKeyBroker;
use proplet_testkit::tee::FakeSnp;
use proplet_types::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::docker_registry::{Access, DockerRegistry};
use super::mosquitto::Mosquitto;

const QUESTION: &str = r#"{"nonce":"n-1","samples":[[5.1,3.5,1.4,0.2],[6.3,3.3,6.0,2.5]]}"#;

/// How a proplet reaches the broker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// Plain MQTT.
    Plain,
    /// MQTT over TLS.
    Tls,
}

/// How the data owner packs the component.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A CNCF Wasm OCI artifact.
    Cncf,
    /// What `wasm-to-oci` makes.
    WasmToOci,
}

/// The outside world.
pub struct Scene {
    pub mosquitto: Mosquitto,
    pub registry: DockerRegistry,
    pub key_broker: DevKeyBroker,
    pub owner: PrivateKey,
    _folders: [TempDir; 2],
}

/// An image that the data owner has pushed.
pub struct Order {
    pub workload: EncryptedComponent,
    pub by_tag: ImageReference,
    pub by_digest: ImageReference,
}

impl Scene {
    pub async fn set(access: Access) -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let key_broker = DevKeyBroker::start().await.unwrap();
        let weights = INFERENCE_WEIGHTS_URI.parse().unwrap();
        key_broker.set_resource(&weights, INFERENCE_WEIGHTS.as_bytes());
        Self {
            mosquitto: Mosquitto::start(folders[0].path()).await,
            registry: DockerRegistry::start(folders[1].path(), access).await,
            key_broker,
            owner: PrivateKey::generate_p256().unwrap(),
            _folders: folders,
        }
    }

    pub async fn manager(&self) -> Manager {
        Manager::connect_to(self.mosquitto.port(), TENANT, CHANNEL)
            .await
            .unwrap()
    }

    /// Encrypts the inference guest with a policy that names the owner, and pushes it.
    pub async fn publish(&self, layout: Layout) -> Order {
        let guest = tokio::task::spawn_blocking(|| build(GuestName::ConfidentialInference))
            .await
            .unwrap()
            .unwrap();
        let policy = with_recipients(INFERENCE_POLICY, &[self.owner.public().clone()]);
        let key_id = KEY_ID.parse().unwrap();
        let mut workload =
            EncryptedComponent::encrypt(&guest.bytes, Some(&policy), key_id).unwrap();
        if layout == Layout::WasmToOci {
            let plain = wasm_to_oci(&workload.component);
            workload.image =
                encrypt::encrypt(&plain, workload.key.as_ref(), &workload.key_id).unwrap();
        }
        self.key_broker
            .set_resource(&workload.key_id, workload.key.as_ref());
        let by_tag: ImageReference = format!("{}/team/inference:v1", self.registry.host())
            .parse()
            .unwrap();
        let by_digest = workload
            .push(&self.registry.config(), &by_tag)
            .await
            .unwrap();
        Order {
            workload,
            by_tag,
            by_digest,
        }
    }

    /// The settings of a proplet here.
    pub fn settings(&self, road: Road) -> Settings {
        let (broker, broker_ca) = match road {
            Road::Plain => (self.mosquitto.url(), None),
            Road::Tls => (self.mosquitto.tls_url(), Some(self.mosquitto.ca())),
        };
        self.parse(&Addresses {
            broker,
            broker_ca,
            registry: self.registry.host(),
            registry_auth: self.registry.auth_file(),
            key_broker: self.key_broker.url(),
            key_broker_timeout: Addresses::KEY_BROKER_TIMEOUT,
        })
    }

    /// The same with other addresses.
    pub fn parse(&self, addresses: &Addresses) -> Settings {
        addresses.measured("").unwrap()
    }

    /// A proplet with these settings that has announced itself.
    pub async fn proplet(&self, settings: &Settings, manager: &Manager) -> RunningProplet {
        let proplet = RunningProplet::on(host(settings, fake_snp(settings))).unwrap();
        manager.messages("control/proplet/alive", 1).await.unwrap();
        proplet
    }

    /// Verifies a result down to the test root against everything that the owner knows, opens it, and
    /// looks at the answer.
    pub fn check(&self, order: &Order, settings: &Settings, task: &Task, outcome: &Outcome) {
        assert_eq!(outcome.error, None);
        assert!(!outcome.results.contains("setosa"));
        let digest =
            |text: &dyn std::fmt::Display| Some(text.to_string().parse::<Digest>().unwrap());
        let expectations = Expectations {
            init_data: settings.init_data.as_ref().map(InitData::digest),
            settings: Some(settings.digest),
            component: digest(&order.workload.component_digest()),
            image: digest(&order.workload.image_digest()),
            export: Some("run".to_owned()),
            inputs: Some(of_inputs(&[QUESTION]).unwrap()),
            arguments: Some(of_arguments(&["--invoke", "run"]).unwrap()),
            recipients: Some(vec![self.owner.public().thumbprint()]),
            task_id: Some(task.id.clone()),
            ..Expectations::of_measurements([FakeSnp::MEASUREMENT.to_vec()])
        };
        let opened = open_result(&self.owner, &outcome.results, &expectations).unwrap();
        let answer: Value = serde_json::from_slice(&opened.content).unwrap();
        assert_eq!(answer["predictions"][0]["class"], "setosa");
        assert_eq!(answer["predictions"][1]["class"], "virginica");
    }
}

/// A machine with this provider; swap is reported only, because nothing here is confidential.
pub fn host(settings: &Settings, provider: Arc<dyn TeeProvider>) -> proplet_executor::Host {
    let mut host = proplet_executor::Host::new(Arc::new(settings.clone()), Some(provider));
    host.swap_rule = proplet_executor::harden::SwapRule::Warn;
    host
}

/// A fake TEE that was launched with these settings.
pub fn fake_snp(settings: &Settings) -> Arc<FakeSnp> {
    Arc::new(
        FakeSnp::builder()
            .host_data(settings.init_data.as_ref().unwrap().host_data())
            .build(),
    )
}

/// A start of this image.
pub fn task(id: &str, image: &ImageReference) -> Task {
    Task {
        kbs_resource_path: "default/key/propeller-wasm".into(),
        cli_args: Some(vec!["--invoke".into(), "run".into()]),
        inputs: vec![QUESTION.into()],
        proplet_id: PROPLET.into(),
        ..Task::encrypted(id, "confidential-inference", &image.to_string())
    }
}

/// An artifact as `wasm-to-oci` makes it.
fn wasm_to_oci(component: &[u8]) -> Artifact {
    let config = b"{}";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {
            "mediaType": media::WASM_TO_OCI_CONFIG,
            "digest": proplet_types::Digest::of(config).to_string(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": media::WASM_TO_OCI_LAYER,
            "digest": proplet_types::Digest::of(component).to_string(),
            "size": component.len(),
            "annotations": { "org.opencontainers.image.title": "module.wasm" },
        }],
    });
    Artifact::new(
        manifest.to_string().into_bytes().into(),
        config.to_vec().into(),
        component.to_vec().into(),
    )
    .unwrap()
}
