//! A whole deployment in this process: broker, registry, key broker, Manager and a daemon on a fake TEE.
//!
//! Tests that cross crates and the demo start here. Everything is real but the TEE and the outside
//! world: the daemon is the production library, messages go through a broker, images through the
//! distribution API, keys through the attestation protocol.
#![deny(missing_docs)]

pub mod owner;
mod sources;
mod store;
pub mod workload;

use std::path::PathBuf;
use std::sync::Arc;

use proplet_daemon::{Daemon, DaemonError};
use proplet_executor::Host;
use proplet_executor::harden::SwapRule;
use proplet_hal::TeeProvider;
use proplet_hal::init_data::DigestAlgorithm;
use proplet_image::{ImageError, ImageReference};
use proplet_jose::jwk::PrivateKey;
use proplet_results::{DocumentError, OpenError};
use proplet_settings::environment::Environment;
use proplet_settings::init_data::init_data;
use proplet_settings::{Settings, SettingsError};
use proplet_testkit::broker::{BrokerError, Manager, Outcome, Task, TestBroker};
use proplet_testkit::kbs::DevKeyBroker;
use proplet_testkit::registry::Registry;
use proplet_types::ResourceUri;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::sources::Sources;
pub use self::store::WatchedStore;
use self::workload::{Workload, WorkloadError};

/// Tenant of every lab.
pub const TENANT: &str = "a93fa93e-30d0-425e-b5d1-c93cd916dca7";
/// Channel of every lab.
pub const CHANNEL: &str = "54bdaf41-0009-4d3e-bd49-6d7abda7a832";
/// Entity id of the lab's proplet.
pub const PROPLET: &str = "c902e51c-5eac-4a2d-a489-660b5f7ab461";
/// Password of the lab's proplet at the broker.
pub const API_KEY: &str = "75a0fefe-9713-478d-aafd-72032c2d9958";
/// Where the key of a lab's workloads lies at the key broker, unless a test says otherwise.
pub const KEY_ID: &str = "kbs:///default/key/propeller-wasm";

/// A part of the lab did not start, or something in it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The broker or the Manager.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The registry or the key broker.
    #[error("the {what} did not start: {source}")]
    Service {
        /// Which one.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The settings document.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A text is no result.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A result does not verify, or does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl LabError {
    fn registry(source: std::io::Error) -> Self {
        let what = "registry";
        Self::Service { what, source }
    }

    fn key_broker(source: std::io::Error) -> Self {
        let what = "key broker";
        Self::Service { what, source }
    }
}

/// What a proplet's settings say about the outside world, whether it is in this process or not.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// URL of the MQTT broker.
    pub broker: String,
    /// PEM file of the broker's CA, for TLS.
    pub broker_ca: Option<PathBuf>,
    /// `name:port` of the registry, which is asked over plain http.
    pub registry: String,
    /// Docker's `config.json` with credentials for the registry.
    pub registry_auth: Option<PathBuf>,
    /// URL of the key broker, which may be plain http.
    pub key_broker: String,
}

impl Addresses {
    /// The settings document, with more text after it: members of `[kbs]` first, then tables.
    #[must_use]
    pub fn settings(&self, more: &str) -> String {
        self.document(&format!("api_key = \"{API_KEY}\""), more)
    }

    /// The same settings as a VM is started with them: in an init-data document, with the credential in
    /// a document of its own.
    ///
    /// # Errors
    /// [`LabError`] for text that is no settings document.
    pub fn measured(&self, more: &str) -> Result<Settings, LabError> {
        let init_data = init_data(&self.document("", more), DigestAlgorithm::Sha256)?;
        Ok(Settings::parse_with_credentials(
            Some(init_data.text()),
            Some(&format!("[proplet]\napi_key = \"{API_KEY}\"\n")),
            &Environment::default(),
        )?)
    }

    fn document(&self, credential: &str, more: &str) -> String {
        let file = |name: &str, path: &Option<PathBuf>| match path {
            Some(path) => format!("{name} = {:?}\n", path.display().to_string()),
            None => String::new(),
        };
        format!(
            r#"[proplet]
tenant_id = "{TENANT}"
channel_id = "{CHANNEL}"
entity_id = "{PROPLET}"
{credential}
results_not_before_ms = 0

[mqtt]
address = "{broker}"
{broker_ca}
[registry]
http_hosts = ["{registry}"]
{registry_auth}
[kbs]
url = "{key_broker}"
allow_http = true
timeout_seconds = 5
{more}"#,
            broker = self.broker,
            broker_ca = file("ca", &self.broker_ca),
            registry = self.registry,
            registry_auth = file("auth_file", &self.registry_auth),
            key_broker = self.key_broker,
        )
    }
}

/// The outside world of a proplet.
pub struct Services {
    /// The MQTT broker.
    pub broker: TestBroker,
    /// The OCI registry.
    pub registry: Registry,
    /// The key broker.
    pub key_broker: DevKeyBroker,
    /// The Manager.
    pub manager: Manager,
}

impl Services {
    /// Starts all of them on free loopback ports. The key broker trusts the test PKI only.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn start() -> Result<Self, LabError> {
        let key_broker = DevKeyBroker::start().await;
        Self::with(key_broker.map_err(LabError::key_broker)?).await
    }

    /// Starts the others beside a key broker of the caller's.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn with(key_broker: DevKeyBroker) -> Result<Self, LabError> {
        let broker = TestBroker::start().await?;
        let manager = Manager::connect(&broker, TENANT, CHANNEL).await?;
        Ok(Self {
            manager,
            registry: Registry::start().await.map_err(LabError::registry)?,
            key_broker,
            broker,
        })
    }

    /// The settings document of a proplet in this world, with more tables after it.
    #[must_use]
    pub fn settings(&self, more: &str) -> String {
        self.addresses().settings(more)
    }

    /// Where everything is.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            broker: self.broker.url(),
            broker_ca: None,
            registry: self.registry.host(),
            registry_auth: None,
            key_broker: self.key_broker.url(),
        }
    }

    /// Encrypts a component, pushes it and gives its key to the key broker. The reference is by digest.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn publish(
        &self,
        name: &str,
        component: &[u8],
        policy: Option<&str>,
        key_id: ResourceUri,
    ) -> Result<(Workload, ImageReference), LabError> {
        let workload = Workload::encrypt(component, policy, key_id)?;
        let pinned = sources::push(&self.registry, &self.key_broker, name, &workload).await?;
        Ok((workload, pinned))
    }
}

/// A daemon in this process.
pub struct RunningProplet {
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), DaemonError>>,
}

impl RunningProplet {
    /// Starts the daemon with these settings. A fake provider makes encrypted tasks possible; swap is
    /// reported only, because nothing is confidential here.
    ///
    /// # Errors
    /// [`LabError`] for settings that are not valid.
    pub fn start(settings: &str, provider: Option<Arc<dyn TeeProvider>>) -> Result<Self, LabError> {
        let settings = Settings::parse(Some(settings), &Environment::default())?;
        let mut host = Host::new(Arc::new(settings), provider);
        host.swap_rule = SwapRule::Warn;
        Self::on(host)
    }

    /// Starts the daemon on this host.
    ///
    /// # Errors
    /// [`LabError`] when the daemon does not start.
    pub fn on(host: Host) -> Result<Self, LabError> {
        let daemon = Daemon::new(host)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(daemon.run(async {
            // Also when the handle is dropped.
            let _ = stopped.await;
        }));
        Ok(Self {
            stop: Some(stop),
            running,
        })
    }

    /// Stops the daemon as a signal would, and waits for it.
    ///
    /// # Errors
    /// What the daemon ended with.
    pub async fn stop(mut self) -> Result<(), LabError> {
        drop(self.stop.take());
        match self.running.await {
            Ok(ended) => Ok(ended?),
            Err(error) => {
                Err(BrokerError::Broker(format!("the daemon broke down: {error}")).into())
            }
        }
    }
}

/// Services with one running proplet.
pub struct Lab {
    /// The outside world.
    pub services: Services,
    /// The daemon.
    pub proplet: RunningProplet,
    /// Somebody who may read results.
    pub recipient: PrivateKey,
}

impl Lab {
    /// Starts a lab whose proplet has this provider, with more text after its settings. The settings
    /// name no recipients unless `more` does.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn start(
        provider: Option<Arc<dyn TeeProvider>>,
        more: &str,
    ) -> Result<Self, LabError> {
        let services = Services::start().await?;
        let proplet = RunningProplet::start(&services.settings(more), provider)?;
        services
            .manager
            .messages("control/proplet/alive", 1)
            .await?;
        let recipient = PrivateKey::generate_p256()
            .map_err(|error| BrokerError::Client(format!("no recipient key: {error}")))?;
        Ok(Self {
            services,
            proplet,
            recipient,
        })
    }

    /// Sends a start message and waits for the results message.
    ///
    /// # Errors
    /// [`LabError`] when none comes.
    pub async fn run(&self, task: &Task) -> Result<Outcome, LabError> {
        self.services.manager.start(task).await?;
        Ok(self.services.manager.result(&task.id).await?)
    }
}
