//! What administrators of key brokers can type.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use proplet_net::Proxy;
use proplet_types::{ResourceUri, ResourceUriError};
use url::Url;

use super::{exit_codes::EXIT_CODES, values::proxy};

/// Subcommands of `kbs`.
#[derive(Debug, Subcommand)]
pub enum Kbs {
    /// Store a resource, in place of what was there
    SetResource(SetResource),
    /// Delete a resource
    DeleteResource(DeleteResource),
    /// Set the resource policy: what is released to whom. A key broker has one
    SetResourcePolicy(SetResourcePolicy),
    /// Show what the key broker says about its resource policy
    GetResourcePolicy(GetResourcePolicy),
    /// Set a policy of the attestation service: what evidence is worth
    SetAttestationPolicy(SetAttestationPolicy),
    /// Register reference values: what evidence is compared with
    RegisterReferenceValues(RegisterReferenceValues),
}

/// Arguments of `kbs set-resource`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct SetResource {
    /// The resource's address, or its path, REPOSITORY/TYPE/TAG
    #[arg(value_name = "kbs:///REPOSITORY/TYPE/TAG", value_parser = resource)]
    pub resource: ResourceUri,
    /// What to store, byte for byte; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub broker: KeyBroker,
}

/// Arguments of `kbs delete-resource`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct DeleteResource {
    /// The resource's address, or its path, REPOSITORY/TYPE/TAG
    #[arg(value_name = "kbs:///REPOSITORY/TYPE/TAG", value_parser = resource)]
    pub resource: ResourceUri,
    #[command(flatten)]
    pub broker: KeyBroker,
}

/// Arguments of `kbs set-resource-policy`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct SetResourcePolicy {
    /// The policy, in Rego, with a rule `allow` in the package `policy`; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub broker: KeyBroker,
}

/// Arguments of `kbs get-resource-policy`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct GetResourcePolicy {
    #[command(flatten)]
    pub broker: KeyBroker,
}

/// Arguments of `kbs set-attestation-policy`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct SetAttestationPolicy {
    /// The policy, in Rego; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The policy's id: `default_cpu` and `default_gpu` are those that a stock Trustee evaluates
    #[arg(long, value_name = "ID", default_value = "default_cpu")]
    pub id: String,
    #[command(flatten)]
    pub broker: KeyBroker,
}

/// Arguments of `kbs register-reference-values`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct RegisterReferenceValues {
    /// The values by name, in TOML or JSON: texts, numbers, truth values, or lists of these; or a file of
    /// reference values with the tables [snp] and [tdx], whose measurements are registered; `-` is standard
    /// input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub broker: KeyBroker,
}

/// A key broker, and who asks it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key broker")]
pub struct KeyBroker {
    /// The key broker, as https://host:port
    #[arg(long, value_name = "URL", requires = "credential")]
    pub kbs_url: Url,
    #[command(flatten)]
    pub way: KeyBrokerWay,
    #[command(flatten)]
    pub administrator: Administrator,
}

/// How a key broker is reached.
#[derive(Debug, Args)]
pub struct KeyBrokerWay {
    /// Certificates (PEM) that the key broker is trusted by, instead of the system's
    #[arg(long, value_name = "FILE", requires = "kbs_url")]
    pub kbs_ca: Option<PathBuf>,
    /// Reach the key broker through this proxy. HTTPS_PROXY and its like are not read
    #[arg(long, value_name = "URL", value_parser = proxy, requires = "kbs_url")]
    pub kbs_proxy: Option<Proxy>,
    /// Speak plain http to the key broker: the network reads keys and tokens. For tests on loopback
    #[arg(long, requires = "kbs_url")]
    pub kbs_http: bool,
    /// How long to try to reach the key broker
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "kbs_url",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub kbs_timeout: u64,
}

/// Credentials that nothing is signed with, so that claims for it would be passed over.
const OTHERS: [&str; 2] = ["admin_token_file", "no_admin_token"];

/// How one proves to be an administrator of a key broker.
#[derive(Debug, Args)]
pub struct Administrator {
    #[command(flatten)]
    pub credential: Credential,
    /// The issuer of tokens that --admin-key signs, as `[admin]` in the key broker's configuration has it;
    /// TrusteeInDocker unless given, as in Trustee's compose file
    #[arg(long, value_name = "NAME", requires = "admin_key", conflicts_with_all = OTHERS)]
    pub admin_issuer: Option<String>,
    /// The audience of these tokens; KBS unless given
    #[arg(long, value_name = "NAME", requires = "admin_key", conflicts_with_all = OTHERS)]
    pub admin_audience: Option<String>,
    /// The role in these tokens; admin unless given
    #[arg(long, value_name = "NAME", requires = "admin_key", conflicts_with_all = OTHERS)]
    pub admin_role: Option<String>,
}

/// One of these.
#[derive(Debug, Args)]
#[group(id = "credential", multiple = false)]
pub struct Credential {
    /// The Ed25519 private key (PKCS#8 PEM) of an administrator of the key broker: signs a token of five
    /// minutes for every call
    #[arg(long, value_name = "FILE", requires = "kbs_url")]
    pub admin_key: Option<PathBuf>,
    /// An administrator's token (JWT), as Trustee's compose file makes one
    #[arg(long, value_name = "FILE", requires = "kbs_url")]
    pub admin_token_file: Option<PathBuf>,
    /// Show no token, to a key broker that takes everybody for its administrator (`InsecureAllowAll`)
    #[arg(long, requires = "kbs_url")]
    pub no_admin_token: bool,
}

fn resource(text: &str) -> Result<ResourceUri, ResourceUriError> {
    if text.contains("://") {
        text.parse()
    } else {
        ResourceUri::from_path(text)
    }
}
