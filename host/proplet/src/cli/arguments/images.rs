//! What can be typed about images, and about the keys that they are encrypted with.

use std::{fmt, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use proplet_image::ImageReference;
use proplet_net::Proxy;
use proplet_types::{ImageKeyTypes, ImageKeyTypesError, ResourceUri};
use url::Url;

use super::{
    exit_codes::EXIT_CODES,
    kbs::{Administrator, KeyBrokerWay},
    values::proxy,
};

/// Subcommands of `image`.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Put a policy into a component and encrypt it, into a folder or a registry
    Encrypt(Box<Encrypt>),
    /// Push an image folder or archive, or a plain component, to a registry
    Push(Push),
    /// Say what an image is; with its key, also what is in it
    Inspect(Inspect),
}

/// How a registry that is named on the command line is reached.
#[derive(Debug, Args)]
pub struct RegistryWay {
    /// Speak plain http to the registry of the reference
    #[arg(long)]
    pub http: bool,
    /// Credentials for registries, in the form of docker's config.json
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// Certificates (PEM) that the registry is trusted by, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub registry_ca: Option<PathBuf>,
    /// Reach registries through this proxy. HTTPS_PROXY and its like are not read
    #[arg(long, value_name = "URL", value_parser = proxy)]
    pub registry_proxy: Option<Proxy>,
}

/// Arguments of `image encrypt`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Encrypt {
    /// The component, a WebAssembly file
    #[arg(value_name = "COMPONENT")]
    pub component: PathBuf,
    /// Where the key broker will have the key
    #[arg(long, value_name = "kbs:///REPOSITORY/TYPE/TAG")]
    pub key_id: ResourceUri,
    /// The policy to put into the component, in TOML
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A public key (JWK, or JWK set) that results are sealed to, added to the policy; may be repeated
    #[arg(long = "recipient", value_name = "FILE")]
    pub recipients: Vec<PathBuf>,
    #[command(flatten)]
    pub target: Target,
    /// Name of the image in the folder, `latest` by default
    #[arg(long, value_name = "NAME", requires = "layout")]
    pub name: Option<String>,
    #[command(flatten)]
    pub key: KeyChoice,
    #[command(flatten)]
    pub types: KeyTypes,
    /// The key broker to upload the key to, as https://host:port
    #[arg(long, value_name = "URL", requires = "credential")]
    pub kbs_url: Option<Url>,
    #[command(flatten)]
    pub way: KeyBrokerWay,
    #[command(flatten)]
    pub administrator: Administrator,
    #[command(flatten)]
    pub registry: RegistryWay,
    /// Print the resource policy (Rego) that lets a key broker release the key to exactly this image, and the
    /// secrets of its policy to exactly this component; WAY is `component_bound` of the hosts' settings. It
    /// stands alone on standard output; what was done is said on standard error
    #[arg(long, value_name = "WAY")]
    pub print_kbs_policy: Option<KbsPolicyWay>,
    /// The TEEs whose evidence counts in that policy, all of them unless given
    #[arg(
        long,
        value_name = "TEE,…",
        value_delimiter = ',',
        requires = "print_kbs_policy"
    )]
    pub kbs_policy_tee: Vec<PolicyTee>,
}

/// How a key broker is told which component asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KbsPolicyWay {
    /// A token of the attestation service
    Passport,
    /// The handshake's additional evidence
    AdditionalEvidence,
}

impl fmt::Display for KbsPolicyWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passport => "passport",
            Self::AdditionalEvidence => "additional-evidence",
        })
    }
}

/// A TEE that a policy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyTee {
    /// AMD SEV-SNP
    Snp,
    /// Intel TDX
    Tdx,
}

impl fmt::Display for PolicyTee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        })
    }
}

/// What the hosts that will run the image are set to.
#[derive(Debug, Args)]
pub struct KeyTypes {
    /// Resource types that decrypt images, as [confidential] image_key_types of the hosts' settings names
    /// them. Keys of images have one of these types, and secrets have none
    #[arg(long, value_name = "TYPE,…", default_value = "key", value_parser = image_key_types)]
    pub image_key_types: ImageKeyTypes,
}

/// Where an encrypted image goes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// Write an OCI image layout into this folder
    #[arg(long, value_name = "FOLDER")]
    pub layout: Option<PathBuf>,
    /// Push to a registry under this reference
    #[arg(long, value_name = "REFERENCE")]
    pub push: Option<ImageReference>,
}

/// Where the key that wraps the layer's key comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct KeyChoice {
    /// Make a new key and write its 32 bytes to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub key_out: Option<PathBuf>,
    /// Use the 32 bytes of this file
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// Arguments of `image push`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Push {
    /// A folder (OCI image layout, or skopeo's `dir:`), an archive of an OCI image layout, or a plain
    /// component
    #[arg(value_name = "FOLDER|ARCHIVE|COMPONENT")]
    pub source: PathBuf,
    /// Where to
    #[arg(value_name = "REFERENCE")]
    pub reference: ImageReference,
    /// Name of the image in the folder or archive, when there are several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub registry: RegistryWay,
}

/// Arguments of `image inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Inspect {
    /// An image reference, a folder (OCI image layout, or skopeo's `dir:`), or an archive of an OCI image
    /// layout. A name that is a folder or an archive here is that one
    #[arg(value_name = "REFERENCE|FOLDER|ARCHIVE")]
    pub image: String,
    /// Name of the image in the folder or archive, when there are several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The 32-byte key: opens the image and shows the component's digest, policy and imports
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub registry: RegistryWay,
}

fn image_key_types(text: &str) -> Result<ImageKeyTypes, ImageKeyTypesError> {
    ImageKeyTypes::new(text.split(',').map(str::to_owned))
}
