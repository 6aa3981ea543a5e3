//! From a start message to an outcome.
//!
//! [`Executor`] knows nothing of MQTT: the daemon feeds it with messages, `proplet run` and the
//! benchmarks call it directly. A task takes one of two roads, and which one is fixed by its
//! [`Source`]: the plain road never sees the key broker, and the encrypted road never falls
//! back to the plain one.
//!
//! What leaves this module for an encrypted task is a sealed document and a [`Refusal`]. Text of a guest
//! (its traps, its standard error, the names of its exports) goes into the sealed document only.

#![deny(missing_docs)]

pub mod binding;
mod encrypted;
mod fetch;
mod gate;
pub mod harden;
mod identity;
mod plain;
mod recipients;
pub mod refusal;
pub mod request;
mod sealing;
mod secrets;
mod sink;
mod vault;
mod warm;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use proplet_hal::{
    TeeName, TeeProvider,
    clock::{Clock, SystemClock},
};
use proplet_image::{ImageError, ImageReference, Puller, RegistryConfig};
use proplet_kbs::{KbsClient, KbsConfig, KbsError};
use proplet_net::reach::Endpoint;
use proplet_results::{Digest, ReceiptKey};
use proplet_runtime::{CancelToken, Input, Limits, Runtime, RuntimeConfig, RuntimeError, Usage};
use proplet_settings::Settings;
use thiserror::Error;

use self::{
    binding::BindingRule,
    gate::Gate,
    harden::{Swap, SwapRule},
    identity::Instance,
    vault::Vault,
    warm::Warm,
};
pub use self::{
    gate::Readiness,
    refusal::Refusal,
    request::{Request, Source},
};

/// The executor could not be set up.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// A file that the settings name cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key broker client.
    #[error(transparent)]
    Kbs(#[from] KbsError),
    /// The registry client.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The engine.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Something that this process makes for itself.
    #[error("the executor cannot be set up: {0}")]
    Setup(String),
}

/// The machine that tasks run on, as far as it decides about them.
pub struct Host {
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The TEE, or a fake. None refuses encrypted tasks.
    pub provider: Option<Arc<dyn TeeProvider>>,
    /// A TEE that was found, for the words of a refusal when there is no provider for it.
    pub detected: Option<TeeName>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Whether there is swap.
    pub swap: Swap,
    /// What swap means.
    pub swap_rule: SwapRule,
    /// When unbound settings refuse.
    pub binding_rule: BindingRule,
}

impl Host {
    /// This machine, with the rules of production.
    #[must_use]
    pub fn new(settings: Arc<Settings>, provider: Option<Arc<dyn TeeProvider>>) -> Self {
        Self {
            settings,
            provider,
            detected: None,
            clock: Arc::new(SystemClock),
            swap: Swap::probe(Path::new("/proc/swaps")),
            swap_rule: SwapRule::default(),
            binding_rule: BindingRule::default(),
        }
    }
}

/// What came of a task.
#[derive(Debug, Clone, Default)]
pub struct TaskOutcome {
    /// The text for the results message: upstream's text for a plain task, a result document for an
    /// encrypted one, also when it failed after its recipients were known. Empty otherwise.
    pub results: String,
    /// Why the task failed.
    pub error: Option<Refusal>,
    /// What the task used, when it ran.
    pub usage: Option<Usage>,
}

impl TaskOutcome {
    fn failed(refusal: Refusal) -> Self {
        Self {
            error: Some(refusal),
            ..Self::default()
        }
    }
}

/// Runs tasks. Clones share everything.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    settings_digest: Digest,
    gate: Gate,
    provider: Option<Arc<dyn TeeProvider>>,
    clock: Arc<dyn Clock>,
    runtime: Runtime,
    puller: Puller,
    fetcher: fetch::Fetcher,
    vault: Option<Vault>,
    warm: Warm,
    instance: Instance,
    receipt_key: Arc<ReceiptKey>,
}

impl Executor {
    /// Sets everything up; nothing is contacted yet.
    ///
    /// # Errors
    /// [`ExecutorError`].
    pub fn new(host: Host) -> Result<Self, ExecutorError> {
        let settings = Arc::clone(&host.settings);
        let registry = registry_config(&settings)?;
        let puller = Puller::new(registry.clone())?;
        let vault = match (&settings.kbs, &host.provider) {
            (Some(kbs), Some(provider)) => {
                let mut config = KbsConfig::new(kbs.url.clone());
                config.ca_pem = kbs.ca_pem.as_ref().map(|pem| pem.as_bytes().to_vec());
                config.proxy = kbs.proxy.clone();
                config.allow_http = kbs.allow_http;
                config.timeout = kbs.timeout;
                Some(Vault::new(KbsClient::new(config, Arc::clone(provider))?))
            }
            _ => None,
        };
        let receipt_key = ReceiptKey::generate()
            .map(Arc::new)
            .map_err(|error| ExecutorError::Setup(error.to_string()))?;
        let runtime = Runtime::new(RuntimeConfig {
            concurrent_tasks: u32::try_from(settings.limits.tasks).unwrap_or(u32::MAX),
            max_component_bytes: settings.registry.max_layer_bytes,
            ..RuntimeConfig::default()
        })?;
        let settings_digest = Digest::try_from(settings.digest.clone())
            .map_err(|error| ExecutorError::Setup(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            settings_digest,
            provider: host.provider.clone(),
            clock: Arc::clone(&host.clock),
            gate: Gate::new(host),
            runtime,
            puller,
            fetcher: fetch::Fetcher::new(&registry)?,
            vault,
            warm: Warm::default(),
            instance: Instance::default(),
            receipt_key,
            settings,
        })))
    }

    /// Runs one task to its end. Cancelling ends it with the code `stopped`.
    pub async fn execute(&self, mut start: Request, cancel: CancelToken) -> TaskOutcome {
        let inner = &self.0;
        // Taken out, because the component may be megabytes long.
        match std::mem::replace(&mut start.source, Source::File(Vec::new())) {
            Source::File(bytes) => inner.run_file(start, bytes, cancel).await,
            Source::Plain(image) => inner.run_plain(start, image, cancel).await,
            Source::Encrypted {
                image,
                kbs_resource_path,
            } => {
                inner
                    .run_encrypted(start, image, kbs_resource_path, cancel)
                    .await
            }
        }
    }

    /// Whether encrypted tasks will be taken, and why not. Asks the TEE once.
    pub async fn readiness(&self) -> Readiness {
        self.0.gate.readiness().await
    }

    /// Forgets keys, secrets and code whose key broker session has ended. The daemon calls it every
    /// second, so that they do not wait in memory for a task that never comes.
    pub fn forget_expired(&self) {
        if let Some(vault) = &self.0.vault {
            vault.forget_expired();
            for digest in self.0.warm.take_expired(vault.live_session()) {
                self.0.runtime.forget(&digest);
            }
        }
    }
}

/// Ends with the preparation, or with the refusal of a stopped task.
async fn unless_stopped<T>(
    cancel: &CancelToken,
    preparation: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(runtime_refusal(&RuntimeError::Stopped)),
        prepared = preparation => prepared,
    }
}

/// The host's words of an engine error: what may leave in clear.
fn runtime_refusal(error: &RuntimeError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

fn image_refusal(error: &ImageError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

fn kbs_refusal(error: &KbsError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

fn reference(settings: &Settings, image: &str) -> Result<ImageReference, Refusal> {
    let reference: ImageReference = image.parse().map_err(|error| image_refusal(&error))?;
    if settings
        .registry
        .allowed
        .permits(reference.registry(), reference.repository())
    {
        return Ok(reference);
    }
    Err(Refusal::new(
        "image-not-allowed",
        format!(
            "the settings do not allow images from {}/{}; add the registry or repository to \
             [registry] in the settings document",
            reference.registry(),
            reference.repository()
        ),
    ))
}

fn inputs(start: &Request) -> Vec<Input> {
    start.inputs.iter().map(Input::text).collect()
}

/// Limits by the names that receipts and settings use.
fn named_limits(limits: &Limits) -> BTreeMap<String, u64> {
    [
        ("memory_bytes", limits.memory_bytes),
        ("wall_clock_ms", limits.wall_clock_ms),
        ("cpu_ms", limits.cpu_ms),
        ("output_bytes", limits.output_bytes),
        ("handles", limits.handles.into()),
        ("evidence_quota", limits.evidence_quota.into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn registry_config(settings: &Settings) -> Result<RegistryConfig, ExecutorError> {
    let registry = &settings.registry;
    let ca_pem = match &registry.ca {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|source| ExecutorError::File {
            path: path.clone(),
            source,
        })?),
    };
    Ok(RegistryConfig {
        auth_file: registry.auth_file.clone(),
        http_hosts: registry.http_hosts.clone(),
        // Who names a registry in the settings means that registry, wherever it is.
        private_hosts: registry
            .private_hosts
            .iter()
            .map(String::as_str)
            .chain(
                registry
                    .allowed
                    .hosts()
                    .filter(|host| host.parse::<Endpoint>().is_ok()),
            )
            .map(str::to_owned)
            .collect(),
        ca_pem,
        proxy: registry.proxy.clone(),
        max_layer_bytes: registry.max_layer_bytes,
        deadline: registry.timeout,
        ..RegistryConfig::default()
    })
}
