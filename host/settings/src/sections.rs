//! The parts of the settings, checked and with defaults filled in.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use proplet_audit::Syslog;
use proplet_jose::jwk::PublicKey;
use proplet_kbs::ComponentBound;
use proplet_net::Proxy;
use proplet_runtime::TaskLimits;
use proplet_types::{Digest, ImageKeyTypes, ResourceUri};
use url::Url;

use super::{address::BrokerAddress, secret::Secret};

/// Identity as far as it is set. Commands that need no broker do without.
#[derive(Debug, Clone, Default)]
pub struct PartialIdentity {
    pub(super) tenant: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) entity: Option<String>,
    pub(super) api_key: Option<ApiKey>,
}

/// Where the MQTT password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// In the settings, the credentials or the environment.
    Given(Secret),
    /// A resource of the key broker.
    Resource(ResourceUri),
}

/// How the broker is shown who this proplet is by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificate {
    /// PEM files.
    Files {
        /// The certificate.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// The key is a resource of the key broker.
    Resource {
        /// PEM file with the certificate; none when it stands beside the key in the resource.
        certificate: Option<PathBuf>,
        /// The resource.
        key: ResourceUri,
    },
}

/// Who this proplet is on the broker.
#[derive(Debug, Clone)]
pub struct BrokerIdentity {
    /// Tenant, once called domain: first part of every topic.
    pub tenant: String,
    /// Channel: second part of every topic.
    pub channel: String,
    /// Entity, once called client: MQTT client id, user name, and the proplet's id for the Manager.
    pub entity: String,
    /// MQTT password.
    pub api_key: ApiKey,
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
    /// Client certificate and its key.
    pub client: Option<ClientCertificate>,
}

/// Who fetches the images of plain tasks. Encrypted ones are always pulled by this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainImages {
    /// This host, from registries.
    Registry,
    /// The image proxy of the deployment, which sends them in chunks over the broker.
    Proxy,
}

/// Where images may come from, and how they are fetched.
#[derive(Debug, Clone)]
pub struct ImageSources {
    /// Who fetches those of plain tasks.
    pub plain_images: PlainImages,
    /// Docker's `config.json` with credentials.
    pub auth_file: Option<PathBuf>,
    /// The same as a resource of the key broker.
    pub auth_resource: Option<ResourceUri>,
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
    pub(super) registries: BTreeSet<String>,
    pub(super) repositories: BTreeSet<String>,
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
    /// How the key broker is told which component asks; not at all when absent.
    pub component_bound: Option<ComponentBound>,
    /// Time for one exchange, all retries included.
    pub timeout: Duration,
}

/// What is in force for encrypted tasks.
#[derive(Debug, Clone)]
pub struct Confidential {
    /// Whether encrypted tasks are taken at all.
    pub tasks: bool,
    /// Recipients of results when neither the component's policy nor a resource that it names has any.
    pub recipients: Vec<PublicKey>,
    /// Whether encrypted tasks run although the document is not bound to the VM.
    pub allow_unmeasured_settings: bool,
    /// Whether encrypted tasks run in the debug flavour of the VM image, into which whoever starts it can log in.
    pub allow_debug_image: bool,
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

/// Which interfaces are served, and where.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Where the Attestation Agent listens, when it is asked for.
    pub attestation: Option<SocketAddr>,
    /// Whether others than programs on this machine may ask it, and then for evidence and the TEE's name alone.
    pub evidence_from_outside: bool,
    /// Where the key provider listens, when it is asked for. Never beside encrypted tasks.
    pub key_provider: Option<SocketAddr>,
    /// How much evidence is made for those who ask, in any minute.
    pub evidence_per_minute: u32,
    /// Who makes tokens.
    pub attestation_service: Option<TokenService>,
}

/// An attestation service that makes tokens.
#[derive(Debug, Clone)]
pub struct TokenService {
    /// Base address, before `/attestation`.
    pub url: Url,
    /// CA to trust instead of the system's, PEM text.
    pub ca_pem: Option<String>,
    /// Whether plain http is accepted, which the document must say in so many words.
    pub allow_http: bool,
}

/// What is said about the use of this machine, unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Time between two messages about this process; none for no such messages.
    pub interval: Option<Duration>,
    /// Whether whoever starts a task is told what it uses while it runs. Of an encrypted one nobody is, unless its policy
    /// allows it.
    pub tasks: bool,
    /// No interval that a start asks for is shorter.
    pub task_floor: Duration,
}

/// What components reach over HTTP, and where those that answer requests are served.
#[derive(Debug, Clone)]
pub struct Http {
    /// Hosts (`name` or `name:port`) that plain components may make requests to, over TLS.
    pub hosts: Vec<String>,
    /// Further ones, over plain http too.
    pub http_hosts: Vec<String>,
    /// Hosts that may be at private addresses, for encrypted components too. Their policy lists the hosts.
    pub private_hosts: Vec<String>,
    /// CA to trust instead of the system's, PEM text.
    pub ca_pem: Option<String>,
    /// Where plain components that answer requests are served. None: such a task is refused.
    pub listen: Option<Listen>,
    /// Requests to such components that are answered at once.
    pub requests: u32,
    /// Connections to such a component at once.
    pub connections: u32,
}

/// Where components are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address and the first port.
    pub address: SocketAddr,
    /// How many ports are tried, one after the other, until one is free.
    pub ports: u16,
}

/// A component of the operator that is asked about tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its file.
    pub path: PathBuf,
    /// Digest of its bytes; another file is not used.
    pub digest: Digest,
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

/// Tasks that are prepared once and invoked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentTasks {
    /// How many are kept; the one that was used longest ago goes, of the owner who has the most.
    pub tasks: usize,
    /// Bytes of their compiled code, and of what their start messages left, together.
    pub bytes: u64,
    /// How long an invocation may take, from its message to its answer.
    pub invocation: Duration,
}

/// Tasks that run until they are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaemonTasks {
    /// How many run at once, beside all other tasks.
    pub tasks: usize,
    /// What becomes of one that fails.
    pub restart: Restart,
    /// How often in a row one is started again.
    pub restarts: u32,
    /// The pause before the first time; each further one is twice as long, up to a minute.
    pub restart_delay: Duration,
}

/// Whether a daemon that failed is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It is not.
    Never,
    /// It is, unless it was stopped, ended well, or was denied its key.
    OnFailure,
}

/// Whether a task may run again under the id of one that ran before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rerun {
    /// It may: the Manager starts recurring tasks so.
    Always,
    /// It may not, also after restarts.
    Never,
}

/// What outlives the process.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// The folder of the store; none keeps everything in memory.
    pub path: Option<PathBuf>,
    /// Tasks are refused once so many bytes are in it.
    pub max_bytes: u64,
    /// Whether results of plain tasks are on disk too: in clear, or sealed where there is a root.
    pub plain_results: bool,
    /// Whether ids may run again.
    pub rerun: Rerun,
    /// The resource of the key broker under which the store is sealed; none leaves it in clear.
    pub sealing_root: Option<ResourceUri>,
}

/// The audit log.
#[derive(Debug, Clone)]
pub struct Audit {
    /// The folder of its files; none has it in memory only.
    pub path: Option<PathBuf>,
    /// Another file is begun when one has so many bytes.
    pub max_file_bytes: u64,
    /// The oldest files are removed when there are more bytes than this in all. None: never.
    pub max_bytes: Option<u64>,
    /// Whether tasks are refused while the log cannot be written.
    pub required: bool,
    /// Who may see the addresses of secrets and the readers of results in it.
    pub recipients: Vec<PublicKey>,
    /// Who gets a copy of each line.
    pub export: Option<AuditExport>,
}

/// Who gets a copy of each line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditExport {
    /// journald of this machine.
    Journald,
    /// A receiver of syslog.
    Syslog(Syslog),
}
