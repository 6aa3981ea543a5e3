//! The settings document: one TOML file that says whom this proplet trusts.
//!
//! Everything that decides about secrets stands in one file: the key broker and its CA, the fallback
//! recipients, what may be pulled, and the limits of tasks. The SHA-256 over its bytes is the *settings
//! digest*, which is in every claim that this host makes. So whoever verifies evidence sees which
//! document was in force, and on hardware the digest is compared with the value that the VM was started
//! with. Two consequences shape the format:
//!
//! - the key broker's CA is text inside the document (`ca_pem`), not a path: the digest must cover it;
//! - environment variables may override what says *where the broker is and who we are on it*, and
//!   nothing else ([`environment`]), and that only as long as no credential of the document's goes
//!   elsewhere by it (`broker`).
//!
//! `docs/settings.md` lists every name with its default.
#![deny(missing_docs)]

pub mod address;
mod broker;
mod checks;
mod credentials;
mod document;
pub mod environment;
pub mod init_data;
pub mod secret;

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use proplet_hal::init_data::{InitData, InitDataError};
use proplet_jose::jwk::PublicKey;
use proplet_net::Proxy;
use proplet_runtime::TaskLimits;
use proplet_types::{Digest, ImageKeyTypes};
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use self::{
    address::{AddressError, BrokerAddress},
    credentials::Credentials,
    document::Document,
    environment::Environment,
    secret::Secret,
};

/// Largest settings document, in bytes. A document is a few kilobytes; a larger file is a mistake.
pub const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings document {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_DOCUMENT_BYTES`] or not UTF-8.
    #[error("{path} is not a settings document: {why}")]
    NotADocument {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The text is not TOML, or has a name or a type that the document does not have.
    #[error("{document}, line {line}: {message}")]
    Syntax {
        /// Which document: of the settings, or of the credentials.
        document: &'static str,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there. Never a value of a credential.
        message: String,
    },
    /// A value does not make sense.
    #[error("settings document, [{table}] {name}: {why}")]
    Value {
        /// The table.
        table: &'static str,
        /// The name in it.
        name: &'static str,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// It is meant to be an init-data document, and is none.
    #[error(transparent)]
    InitData(#[from] InitDataError),
    /// An init-data document without settings.
    #[error(
        "the init-data holds no settings: put them under [data] as \"proplet.toml\", or let `proplet init-data make` do it"
    )]
    NoSettingsInside,
    /// A credential in what is public.
    #[error(
        "the settings in the init-data hold a credential, [{table}] {name}: init-data is public, so \
         replace that credential now, and write the new one into a document of its own (--credentials)"
    )]
    PublicCredential {
        /// The table.
        table: &'static str,
        /// The name in it.
        name: &'static str,
    },
    /// The credentials document says again what the settings say.
    #[error(
        "the credentials document cannot override [{table}] {name} of the settings document: remove one of \
         the two"
    )]
    OverridingCredential {
        /// The table.
        table: &'static str,
        /// The name in it.
        name: &'static str,
    },
    /// An environment variable does not parse.
    #[error("environment variable {name}: expected {expected}; unset it or correct it")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// An environment variable is not an address.
    #[error("environment variable PROPLET_MQTT_ADDRESS: {0}")]
    Address(#[from] AddressError),
    /// An environment variable would lead something of the document's elsewhere.
    #[error("environment variable {name}: {why}")]
    Override {
        /// The variable.
        name: &'static str,
        /// What it would do, and what to do instead.
        why: String,
    },
    /// The daemon has no identity.
    #[error(
        "{missing} is not set: set [proplet] {missing} in the settings document, or {variables}"
    )]
    NoIdentity {
        /// Name of the missing value in the document.
        missing: &'static str,
        /// Variables that set it.
        variables: &'static str,
    },
}

impl SettingsError {
    /// A value of the document that does not make sense.
    fn value(table: &'static str, name: &'static str, why: impl Into<String>) -> Self {
        Self::Value {
            table,
            name,
            why: why.into(),
        }
    }
}

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
    pub registry: Registry,
    /// The key broker; none means that encrypted tasks are refused.
    pub kbs: Option<Kbs>,
    /// What is in force for encrypted tasks.
    pub confidential: Confidential,
    /// How the TEE is asked for evidence.
    pub attestation: Attestation,
    /// Limits of tasks.
    pub limits: Limits,
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

/// Identity as far as it is set. Commands that need no broker do without.
#[derive(Debug, Clone, Default)]
pub struct PartialIdentity {
    tenant: Option<String>,
    channel: Option<String>,
    entity: Option<String>,
    api_key: Option<Secret>,
}

/// Who this proplet is on the broker.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Tenant, once called domain: first part of every topic.
    pub tenant: String,
    /// Channel: second part of every topic.
    pub channel: String,
    /// Entity, once called client: MQTT client id, user name, and the proplet's id for the Manager.
    pub entity: String,
    /// MQTT password.
    pub api_key: Secret,
}

/// What the discovery message says about this machine.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Namespace, `default` unless set.
    pub namespace: String,
    /// Free text.
    pub description: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
    /// Free text.
    pub location: Option<String>,
    /// Whether host name, memory and the like are in the discovery message.
    pub system_info: bool,
}

/// The connection to the broker.
#[derive(Debug, Clone)]
pub struct Mqtt {
    /// Where it is.
    pub address: BrokerAddress,
    /// Quality of service of every publish and subscription: 0, 1 or 2.
    pub qos: u8,
    /// Seconds between keep-alive pings.
    pub keep_alive: Duration,
    /// Largest packet in either direction, in bytes.
    pub max_packet_bytes: usize,
    /// Largest results message, in bytes. FluxMQ's limit is 1 MiB, and it drops the connection above.
    pub max_result_bytes: usize,
    /// Publishes that may wait for their acknowledgement at once.
    pub inflight: u16,
    /// Requests that may wait for the connection.
    pub request_queue: usize,
    /// Results that may wait for the broker, in number.
    pub result_queue: usize,
    /// Results that may wait for the broker, in bytes.
    pub result_queue_bytes: usize,
    /// CA to trust instead of the system's, PEM file.
    pub ca: Option<PathBuf>,
    /// Client certificate and its key, PEM files.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where images may come from, and how they are fetched.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Docker's `config.json` with credentials.
    pub auth_file: Option<PathBuf>,
    /// Hosts (`name:port`) that may be asked over plain http.
    pub http_hosts: Vec<String>,
    /// Hosts (`name` or `name:port`) that may be at private addresses.
    pub private_hosts: Vec<String>,
    /// CA to trust instead of the system's, PEM file.
    pub ca: Option<PathBuf>,
    /// Proxy on the way to registries and to `http(s)` sources.
    pub proxy: Option<Proxy>,
    /// Largest layer, in bytes.
    pub max_layer_bytes: u64,
    /// Time for one pull.
    pub timeout: Duration,
    /// What may be pulled.
    pub allowed: AllowList,
}

/// Registries and repositories that images may come from. Empty allows all.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    registries: BTreeSet<String>,
    repositories: BTreeSet<String>,
}

impl AllowList {
    /// The hosts that are named here, alone or with a repository.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let of_repositories = self
            .repositories
            .iter()
            .filter_map(|entry| entry.split('/').next());
        self.registries
            .iter()
            .map(String::as_str)
            .chain(of_repositories)
    }

    /// True when an image of this registry and repository may be pulled: its registry is listed, or
    /// `registry/repository` is, exactly or under an entry that ends in `/*`.
    #[must_use]
    pub fn permits(&self, registry: &str, repository: &str) -> bool {
        if self.registries.is_empty() && self.repositories.is_empty() {
            return true;
        }
        let full = format!("{registry}/{repository}");
        self.registries.contains(registry)
            || self
                .repositories
                .iter()
                .any(|entry| match entry.strip_suffix("/*") {
                    Some(folder) => full
                        .strip_prefix(folder)
                        .is_some_and(|rest| rest.starts_with('/')),
                    None => *entry == full,
                })
    }
}

/// The key broker.
#[derive(Debug, Clone)]
pub struct Kbs {
    /// Base address.
    pub url: Url,
    /// CA to trust instead of the system's, PEM text.
    pub ca_pem: Option<String>,
    /// Proxy on the way there.
    pub proxy: Option<Proxy>,
    /// Whether plain http is accepted, which the document must say in so many words.
    pub allow_http: bool,
    /// Time for one exchange, all retries included.
    pub timeout: Duration,
}

/// What is in force for encrypted tasks.
#[derive(Debug, Clone)]
pub struct Confidential {
    /// Recipients of results when neither the component's policy nor a resource that it names has any.
    pub recipients: Vec<PublicKey>,
    /// Whether encrypted tasks run although the document is not bound to the VM.
    pub allow_unmeasured_settings: bool,
    /// Whether images whose key is wrapped with A256CTR are accepted. Their policy never counts.
    pub allow_a256ctr: bool,
    /// Types of the resources that decrypt images. No component is given one of these.
    pub image_key_types: ImageKeyTypes,
}

/// How the TEE is asked for evidence, and where certificates come from that belong to it.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// How long one piece of evidence is waited for.
    pub timeout: Duration,
    /// Folder with certificates of the key that signs SNP reports, for hosts that give none.
    pub certificates: Option<PathBuf>,
    /// Where such certificates are fetched, when the folder has none that fits.
    pub certificate_service: Option<CertificateService>,
}

/// AMD's key distribution service, or a mirror of it.
#[derive(Debug, Clone)]
pub struct CertificateService {
    /// Base address, before `/vcek/v1`.
    pub url: Url,
    /// CA to trust instead of the system's, PEM text.
    pub ca_pem: Option<String>,
    /// Folder where what was fetched is kept. It is public.
    pub cache: Option<PathBuf>,
}

/// Limits of tasks.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Tasks that run at once.
    pub tasks: usize,
    /// Tasks that wait for a place; further ones are refused.
    pub queue: usize,
    /// Bytes that the start messages of all tasks take that run or wait; what exceeds it is refused, unless it
    /// is alone.
    pub queue_bytes: usize,
    /// How long a task waits for its component while it is compiled, in milliseconds.
    pub compile_ms: u64,
    /// What one task may use. A component's policy can lower it, never raise it.
    pub task: TaskLimits,
}

impl Settings {
    /// Where the document is: the file that was given, else the one that `PROPLET_CONFIG_FILE` names, else
    /// `proplet.toml` in the current directory if there is one. The first two need not exist: then
    /// [`Settings::load`] says so.
    fn locate(given: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
        let named = || {
            environment
                .text(&["PROPLET_CONFIG_FILE"])
                .map(PathBuf::from)
        };
        let usual = || Some(PathBuf::from("proplet.toml")).filter(|path| path.is_file());
        given.map(Path::to_path_buf).or_else(named).or_else(usual)
    }

    /// Reads the documents and applies the environment. The settings are at `path` when that is given, else
    /// where `PROPLET_CONFIG_FILE` says, else in `proplet.toml` in the current directory if there is one;
    /// else there are none. The credentials are at `credentials`, else where `PROPLET_CREDENTIALS_FILE`
    /// says, else there are none.
    ///
    /// # Errors
    /// When a file cannot be read, is not such a document, or a value or variable is wrong.
    pub fn load(
        path: Option<&Path>,
        credentials: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let path = Self::locate(path, environment);
        let named = || {
            environment
                .text(&["PROPLET_CREDENTIALS_FILE"])
                .map(PathBuf::from)
        };
        let credentials = credentials.map(Path::to_path_buf).or_else(named);
        let settings = path.as_deref().map(read_text).transpose()?;
        let credentials = credentials.as_deref().map(read_text).transpose()?;
        Self::parse_with_credentials(
            settings.as_ref().map(|text| text.as_str()),
            credentials.as_ref().map(|text| text.as_str()),
            environment,
        )
    }

    /// Checks a document, or its absence, and applies the environment.
    ///
    /// # Errors
    /// When the text is neither a settings document nor an init-data document that holds one, or a value
    /// or variable is wrong.
    pub fn parse(text: Option<&str>, environment: &Environment) -> Result<Self, SettingsError> {
        Self::parse_with_credentials(text, None, environment)
    }

    /// The same with a credentials document.
    ///
    /// # Errors
    /// As [`Settings::parse`], and when the second document has other names than those of credentials or
    /// one that the first has too.
    pub fn parse_with_credentials(
        text: Option<&str>,
        credentials: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let (bytes, init_data) = init_data::unwrap(text.unwrap_or_default())?;
        let mut document: Document = toml::from_str(&bytes)
            .map_err(|error| checks::syntax_error("settings document", &bytes, &error))?;
        if init_data.is_some() {
            init_data::refuse_credentials(&document)?;
        }
        if let Some(credentials) = credentials {
            Credentials::parse(credentials)?.complete(&mut document)?;
        }
        let Document {
            proplet,
            mqtt,
            registry,
            kbs,
            confidential,
            attestation,
            limits,
        } = document;
        let heartbeat = environment
            .seconds("PROPLET_LIVELINESS_INTERVAL")?
            .or(proplet.heartbeat_seconds)
            .unwrap_or(5);
        if heartbeat == 0 {
            return Err(SettingsError::value(
                "proplet",
                "heartbeat_seconds",
                "must be at least 1",
            ));
        }
        let owns_key = checks::owns_key(&proplet, environment);
        let (mqtt, notice) = checks::checked_mqtt(mqtt, owns_key, environment)?;
        let mut notices = environment.notices();
        notices.extend(notice);
        if heartbeat >= 10 {
            notices.push(format!(
                "a heartbeat every {heartbeat} s: the Manager takes a proplet for dead after 10 s, \
                 so set 5 or less"
            ));
        }
        Ok(Self {
            digest: Digest::of(bytes.as_bytes()),
            init_data,
            has_document: text.is_some(),
            log_level: environment
                .text(&["PROPLET_LOG_LEVEL"])
                .or_else(|| proplet.log_level.clone())
                .unwrap_or_else(|| "info".to_owned()),
            results_not_before: Duration::from_millis(proplet.results_not_before_ms.unwrap_or(50)),
            heartbeat: Duration::from_secs(heartbeat),
            identity: checks::partial_identity(&proplet, environment)?,
            about: checks::about(proplet, environment)?,
            mqtt,
            registry: checks::checked_registry(registry)?,
            kbs: kbs.map(checks::checked_kbs).transpose()?,
            confidential: checks::checked_confidential(confidential)?,
            attestation: checks::checked_attestation(attestation)?,
            limits: checks::checked_limits(&limits)?,
            notices,
        })
    }

    /// Who this proplet is on the broker.
    ///
    /// # Errors
    /// When one of the four values is set neither in the document nor in the environment.
    pub fn identity(&self) -> Result<Identity, SettingsError> {
        let missing = |missing, variables| move || SettingsError::NoIdentity { missing, variables };
        let given = &self.identity;
        Ok(Identity {
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
                "PROPLET_API_KEY (or PROPLET_CLIENT_KEY)",
            ))?,
        })
    }
}

/// Reads a document whole. It may hold a credential, so the text is wiped when dropped.
fn read_text(path: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let path = || path.to_owned();
    let invalid = |why| SettingsError::NotADocument { path: path(), why };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path())
        .and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| SettingsError::Read {
            path: path(),
            source,
        })?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(invalid("it is larger than 1 MiB"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(invalid("it is not UTF-8 text")),
    }
}

#[cfg(test)]
mod tests;
