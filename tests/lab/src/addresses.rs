//! What a proplet's settings say about the outside world.

use std::path::PathBuf;
use std::time::Duration;

use proplet_hal::InitData;
use proplet_hal::init_data::DigestAlgorithm;
use proplet_settings::Settings;
use proplet_settings::environment::Environment;
use proplet_settings::init_data::init_data;

use crate::error::LabError;

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
    /// How long the key broker may take for an attestation, in whole seconds.
    pub key_broker_timeout: Duration,
}

impl Addresses {
    /// [`Addresses::key_broker_timeout`] where no machine is slower than it should be.
    pub const KEY_BROKER_TIMEOUT: Duration = Duration::from_secs(5);

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
        let init_data = self.init_data(more)?;
        Ok(Settings::parse_with_credentials(
            Some(init_data.text()),
            Some(&format!("[proplet]\napi_key = \"{API_KEY}\"\n")),
            &Environment::default(),
        )?)
    }

    /// The init-data document of these settings, without the credential.
    ///
    /// # Errors
    /// [`LabError`] for text that is no settings document.
    pub fn init_data(&self, more: &str) -> Result<InitData, LabError> {
        Ok(init_data(
            &self.document("", more),
            DigestAlgorithm::Sha256,
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
timeout_seconds = {timeout}
{more}"#,
            broker = self.broker,
            broker_ca = file("ca", &self.broker_ca),
            registry = self.registry,
            registry_auth = file("auth_file", &self.registry_auth),
            key_broker = self.key_broker,
            timeout = self.key_broker_timeout.as_secs(),
        )
    }
}
