//! The settings document as it is written, before defaults and checks.
//!
//! Every table refuses names that it does not know: a misspelt `allow_htpp` must not silently leave a
//! default in force. Names are upstream's where upstream has one.

use std::path::PathBuf;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor, value},
    forward_to_deserialize_any,
};

use super::secret::Secret;

/// The whole of `proplet.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub proplet: Proplet,
    pub mqtt: Mqtt,
    /// None where the table is not there at all: what a file of upstream's looks like.
    pub registry: Option<Registry>,
    pub kbs: Option<Kbs>,
    pub confidential: Confidential,
    pub attestation: Attestation,
    pub agent: Agent,
    pub limits: Limits,
    pub latent_tasks: LatentTasks,
    pub daemon_tasks: DaemonTasks,
    pub outbox: Outbox,
    pub audit: Audit,
    pub health: Health,
    pub metrics: Metrics,
    pub http: Http,
    pub directories: Vec<Directory>,
    pub plugins: Vec<Plugin>,
}

impl Document {
    /// The names of its tables, as it is read: there is no second list that could lack one.
    pub(super) fn tables() -> &'static [&'static str] {
        let mut names: &'static [&'static str] = &[];
        // It only says what it would take, and is given nothing.
        let _ = Self::deserialize(Names(&mut names));
        names
    }
}

/// Keeps the names that a structure asks for.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("there is only a structure's names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Proplet {
    #[serde(alias = "domain_id")]
    pub tenant_id: Option<String>,
    pub channel_id: Option<String>,
    #[serde(alias = "client_id")]
    pub entity_id: Option<String>,
    #[serde(alias = "client_key")]
    pub api_key: Option<Secret>,
    pub api_key_resource: Option<String>,
    pub namespace: Option<String>,
    pub description: Option<String>,
    pub tags: Option<Vec<String>>,
    pub location: Option<String>,
    pub collect_system_info: Option<bool>,
    pub heartbeat_seconds: Option<u64>,
    pub log_level: Option<String>,
    pub results_not_before_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mqtt {
    pub address: Option<String>,
    pub qos: Option<u8>,
    pub keep_alive_seconds: Option<u64>,
    pub max_packet_bytes: Option<usize>,
    pub max_result_bytes: Option<usize>,
    pub inflight: Option<u16>,
    pub request_queue: Option<usize>,
    pub result_queue: Option<usize>,
    pub result_queue_bytes: Option<usize>,
    #[serde(deserialize_with = "path")]
    pub ca: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub client_cert: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub client_key: Option<PathBuf>,
    pub client_key_resource: Option<String>,
    pub allow_plain_credentials: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Registry {
    #[serde(deserialize_with = "path")]
    pub auth_file: Option<PathBuf>,
    pub auth_resource: Option<String>,
    pub http_hosts: Vec<String>,
    pub private_hosts: Vec<String>,
    #[serde(deserialize_with = "path")]
    pub ca: Option<PathBuf>,
    pub proxy: Option<Secret>,
    pub no_proxy: Vec<String>,
    pub max_layer_bytes: Option<u64>,
    pub timeout_seconds: Option<u64>,
    pub plain_images: Option<String>,
    pub registries: Vec<String>,
    pub repositories: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kbs {
    pub url: String,
    #[serde(default)]
    pub ca_pem: Option<String>,
    #[serde(default)]
    pub proxy: Option<Secret>,
    #[serde(default)]
    pub allow_http: bool,
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    #[serde(default)]
    pub component_bound: Option<String>,
    #[serde(default)]
    pub attestation_service: Option<String>,
    #[serde(default)]
    pub attestation_service_ca_pem: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Confidential {
    pub tasks: Option<bool>,
    pub recipients: Vec<serde_json::Value>,
    pub allow_unmeasured_settings: bool,
    pub allow_a256ctr: bool,
    pub allow_debug_image: bool,
    pub image_key_types: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Attestation {
    pub timeout_seconds: Option<u64>,
    #[serde(deserialize_with = "path")]
    pub certificates: Option<PathBuf>,
    pub certificates_url: Option<String>,
    pub certificates_ca_pem: Option<String>,
    #[serde(deserialize_with = "path")]
    pub certificates_cache: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Agent {
    pub attestation: bool,
    pub attestation_address: Option<String>,
    pub evidence_from_outside: bool,
    pub key_provider: bool,
    pub key_provider_address: Option<String>,
    pub evidence_per_minute: Option<u32>,
    pub attestation_service: Option<String>,
    pub attestation_service_ca_pem: Option<String>,
    pub attestation_service_allow_http: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub tasks: Option<usize>,
    pub queue: Option<usize>,
    pub queue_bytes: Option<usize>,
    pub compile_ms: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub wall_clock_ms: Option<u64>,
    pub cpu_ms: Option<u64>,
    pub output_bytes: Option<u64>,
    pub handles: Option<u32>,
    pub evidence_quota: Option<u32>,
    pub secret_quota: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LatentTasks {
    pub tasks: Option<usize>,
    pub bytes: Option<u64>,
    pub invocation_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DaemonTasks {
    pub tasks: Option<usize>,
    pub restart: Option<String>,
    pub restarts: Option<u32>,
    pub restart_delay_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Outbox {
    #[serde(deserialize_with = "path")]
    pub path: Option<PathBuf>,
    pub max_bytes: Option<u64>,
    pub plain_results: bool,
    pub rerun: Option<String>,
    pub sealing_root_resource: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    #[serde(deserialize_with = "path")]
    pub path: Option<PathBuf>,
    pub max_file_bytes: Option<u64>,
    pub max_bytes: Option<u64>,
    pub required: bool,
    pub recipients: Vec<serde_json::Value>,
    pub export: Option<String>,
    pub syslog: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Health {
    pub listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    pub interval_seconds: Option<u64>,
    pub tasks: Option<bool>,
    pub task_floor_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub hosts: Vec<String>,
    pub http_hosts: Vec<String>,
    pub private_hosts: Vec<String>,
    pub ca_pem: Option<String>,
    pub listen: Option<String>,
    pub requests: Option<u32>,
    pub connections: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Directory {
    pub path: PathBuf,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub writable: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugin {
    pub path: PathBuf,
    pub digest: String,
}

/// The path of a file. What is in a file, a private key for example, is refused without being repeated: as a
/// path it would come back in an error.
pub(super) fn path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_content(&text) {
        return Err(D::Error::custom(
            "expected the path of a file, and not what is in it",
        ));
    }
    Ok(Some(PathBuf::from(text)))
}

/// Whether somebody wrote what is in a file where its path belongs.
pub(super) fn is_content(path: &str) -> bool {
    path.contains(['\n', '\r']) || path.contains("-----BEGIN")
}
