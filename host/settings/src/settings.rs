//! Settings as a whole.

use std::{net::SocketAddr, time::Duration};

use proplet_hal::init_data::InitData;
use proplet_runtime::Directory;
use proplet_types::Digest;

use crate::{
    error::SettingsError,
    sections::{
        About, Agent, Attestation, Audit, BrokerIdentity, Confidential, DaemonTasks, Http,
        ImageSources, Kbs, LatentTasks, Limits, Metrics, Mqtt, Outbox, PartialIdentity, Plugin,
    },
};

/// Settings, checked and with defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Over the bytes of the settings document, wherever it stood; over no bytes when there is none.
    pub digest: Digest,
    /// The init-data document that holds the settings. Without one, nothing can bind them to a VM.
    pub init_data: Option<InitData>,
    /// True when there is a document. Without one, encrypted tasks are refused: nobody could tell
    /// which key broker is trusted.
    pub has_document: bool,
    /// Who this proplet is.
    pub identity: PartialIdentity,
    /// What the discovery message says about this machine.
    pub about: About,
    /// The connection to the broker.
    pub mqtt: Mqtt,
    /// Where images may come from, and how they are fetched.
    pub registry: ImageSources,
    /// The key broker; none means that encrypted tasks are refused.
    pub kbs: Option<Kbs>,
    /// What is in force for encrypted tasks.
    pub confidential: Confidential,
    /// How the TEE is asked for evidence.
    pub attestation: Attestation,
    /// Interfaces for other programs in the VM.
    pub agent: Agent,
    /// Limits of tasks.
    pub limits: Limits,
    /// Tasks that are prepared once and invoked again and again.
    pub latent_tasks: LatentTasks,
    /// Tasks that run until they are stopped.
    pub daemon_tasks: DaemonTasks,
    /// What outlives the process.
    pub outbox: Outbox,
    /// The audit log.
    pub audit: Audit,
    /// Where `/health` is served; none for nowhere.
    pub health: Option<SocketAddr>,
    /// What is said about the use of this machine, unasked.
    pub metrics: Metrics,
    /// What components reach over HTTP, and where those that answer requests are served.
    pub http: Http,
    /// Directories of this machine that plain tasks may use.
    pub directories: Vec<Directory>,
    /// Components of the operator that are asked about tasks, in this order.
    pub plugins: Vec<Plugin>,
    /// Seconds between heartbeats. The Manager takes a proplet for dead after 10 s.
    pub heartbeat: Duration,
    /// Filter of the log, in the syntax of `tracing-subscriber`'s `EnvFilter`.
    pub log_level: String,
    /// No result is published sooner than this after its start message arrived: the Manager overwrites
    /// its record of the task a few milliseconds after it published the start, and a result in between
    /// would be lost.
    pub results_not_before: Duration,
    /// Lines for the log at start: variables that were ignored, values that are unwise.
    pub notices: Vec<String>,
}

impl Settings {
    /// Who this proplet is on the broker.
    ///
    /// # Errors
    /// When one of the four values is set neither in the document nor in the environment.
    pub fn identity(&self) -> Result<BrokerIdentity, SettingsError> {
        let missing = |missing, variables| move || SettingsError::NoIdentity { missing, variables };
        let given = &self.identity;
        Ok(BrokerIdentity {
            tenant: given.tenant.clone().ok_or_else(missing(
                "tenant_id",
                "PROPLET_TENANT_ID (or PROPLET_DOMAIN_ID)",
            ))?,
            channel: given
                .channel
                .clone()
                .ok_or_else(missing("channel_id", "PROPLET_CHANNEL_ID"))?,
            entity: given.entity.clone().ok_or_else(missing(
                "entity_id",
                "PROPLET_ENTITY_ID (or PROPLET_CLIENT_ID)",
            ))?,
            api_key: given.api_key.clone().ok_or_else(missing(
                "api_key",
                "PROPLET_API_KEY (or PROPLET_CLIENT_KEY), or api_key_resource, a resource of the key broker",
            ))?,
        })
    }
}
