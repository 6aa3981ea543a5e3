//! What data owners and relying parties can type.

use std::{fmt, net::SocketAddr, path::PathBuf, time::SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use proplet_hal::init_data::DigestAlgorithm;
use proplet_image::ImageReference;
use proplet_measure::snp::CpuType;
use proplet_net::Proxy;
use proplet_types::{Digest, ImageKeyTypes, ImageKeyTypesError, ResourceUri};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use url::Url;

use super::{
    exit_codes::EXIT_CODES,
    kbs::{Administrator, KeyBrokerWay},
    snp::SnpTrusted,
    tdx::{TdxExpected, TdxTrusted},
    values::proxy,
};

/// Arguments of `measure`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Measure {
    /// The image, a unified kernel image (`proplet.efi`)
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Its firmware for SNP; by default OVMF.amdsev.fd beside the image
    #[arg(long, value_name = "FILE")]
    pub snp_firmware: Option<PathBuf>,
    /// Its firmware for TDX; by default OVMF.inteltdx.fd beside the image
    #[arg(long, value_name = "FILE")]
    pub tdx_firmware: Option<PathBuf>,
    /// A type of CPU that SNP is measured for, as QEMU names it; may be repeated
    #[arg(long, value_name = "TYPE")]
    pub cpu: Vec<CpuType>,
    /// A number of CPUs that SNP is measured for; may be repeated
    #[arg(long, value_name = "NUMBER")]
    pub vcpus: Vec<u32>,
}

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

/// Arguments of `keygen`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Keygen {
    /// The curve. Any JOSE library opens results for p256; x25519 is newer there
    #[arg(long, value_enum, default_value_t = Algorithm::P256)]
    pub algorithm: Algorithm,
    /// Where the private key goes, a JWK. The file must not exist; the public key goes beside it, as
    /// `<FILE>.pub`
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Curves of recipients' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Algorithm {
    /// NIST P-256
    P256,
    /// X25519
    X25519,
}

/// Arguments of `keyprovider`.
#[derive(Debug, Args)]
#[command(after_help = KEY_PROVIDER_HELP)]
pub struct KeyProvider {
    /// Where to listen: a loopback address, because whoever reaches it is answered. Port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:50000")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub types: KeyTypes,
    /// A key id that may be wrapped under and stored; all others are refused. Give it again for each. Needed with
    /// --kbs-url, because whoever reaches this program can replace the keys of these ids there
    #[arg(long = "key-id", value_name = "kbs:///REPOSITORY/TYPE/TAG")]
    pub key_ids: Vec<ResourceUri>,
    /// The key broker to upload keys to, as https://host:port. A keyid without a keypath gets a new key there
    #[arg(long, value_name = "URL", requires_all = ["credential", "key_ids"])]
    pub kbs_url: Option<Url>,
    #[command(flatten)]
    pub way: KeyBrokerWay,
    #[command(flatten)]
    pub administrator: Administrator,
}

/// How `skopeo` uses it.
const KEY_PROVIDER_HELP: &str = "\
Parameters of skopeo, name=value with :: in between:
  keyid      where the key broker has the key, as kbs:///REPOSITORY/TYPE/TAG
  keypath    the file with the key's 32 bytes
  algorithm  A256GCM, which is the default
As in:
  skopeo copy --encryption-key \\
    provider:attestation-agent:keyid=kbs:///default/key/app::keypath=/keys/app dir:plain oci:encrypted";

/// Arguments of `open`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Open {
    /// The sealed result, the proplet's results message, or the Manager's JSON of the task; `-` is
    /// standard input
    #[arg(value_name = "RESULT")]
    pub document: PathBuf,
    /// The recipient's private key, as `proplet keygen` writes it: a JWK, or PKCS#8 in PEM
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Where the content goes, instead of standard output. The file must not exist
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub expectations: Expected,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Verify {
    /// An evidence bundle, a sealed result, the proplet's results message, or the Manager's JSON of
    /// the task; `-` is standard input
    #[arg(value_name = "DOCUMENT")]
    pub document: PathBuf,
    /// Show everything as a tree: what the evidence says, what was checked against what, and what was not
    #[arg(long)]
    pub explain: bool,
    /// Write the same as one page of HTML, which needs nothing else. The file must not exist
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub expectations: Expected,
}

/// Whom to believe.
#[derive(Debug, Args)]
pub struct Trust {
    /// Root certificates (PEM): an ARK with its ASK instead of AMD's built-in ones for SNP, a root CA with a
    /// P-256 key instead of Intel's for TDX, or both
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
    /// Judge certificates as of this time instead of now: 2026-01-31, or 2026-01-31T12:00:00Z. For
    /// documents that are older than the certificates live; the report warns of it
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub at: Option<Moment>,
    /// What evidence is held against, in one file (docs/formats.md, section 8): measurements, the lowest firmware,
    /// machines, keys, policies. A TEE that it has no table for is refused. Options take the place of its items
    #[arg(long, value_name = "FILE")]
    pub reference_values: Option<PathBuf>,
    /// Accept evidence of the kind `sample`, which anybody can write. For tests: it proves nothing
    #[arg(long)]
    pub accept_sample: bool,
    /// Accept a VM that its host may debug, and so read. For tests
    #[arg(long)]
    pub allow_debug: bool,
    #[command(flatten)]
    pub snp: SnpTrusted,
    #[command(flatten)]
    pub tdx: TdxTrusted,
}

/// What is expected. What is not given here is reported as not verified; a measurement has to be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Expectations")]
pub struct Expected {
    /// Digest of the component, `sha256:…`
    #[arg(long, value_name = "DIGEST")]
    pub expect_component: Option<Digest>,
    /// Digest of the image's manifest
    #[arg(long, value_name = "DIGEST")]
    pub expect_image: Option<Digest>,
    /// Digest of the policy in the component
    #[arg(long, value_name = "DIGEST")]
    pub expect_policy: Option<Digest>,
    /// Digest of the host's settings document
    #[arg(long, value_name = "DIGEST")]
    pub expect_settings: Option<Digest>,
    /// A good launch measurement, in hexadecimal; may be repeated, one has to match. Required, because
    /// everything else is the word of the host that it identifies
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub expect_measurement: Vec<Bytes>,
    /// Accept any launch measurement, and with it any host, patched ones included
    #[arg(long, conflicts_with = "expect_measurement")]
    pub any_measurement: bool,
    #[command(flatten)]
    pub tdx: TdxExpected,
    /// The init-data binding (HOST_DATA, MRCONFIGID), in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub expect_init_data: Option<Bytes>,
    /// The init-data document that the VM was started with: its digest is the binding, and the settings in
    /// it are the host's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["expect_init_data", "expect_settings"])]
    pub init_data: Option<PathBuf>,
    /// The task's id
    #[arg(long, value_name = "ID")]
    pub expect_task: Option<String>,
    /// The export that ran
    #[arg(long, value_name = "NAME")]
    pub expect_export: Option<String>,
    /// Digest of the task's arguments
    #[arg(long, value_name = "DIGEST")]
    pub expect_arguments: Option<Digest>,
    /// Digest of the task's environment
    #[arg(long, value_name = "DIGEST")]
    pub expect_environment: Option<Digest>,
    /// Thumbprint of a recipient; may be repeated: these and no others
    #[arg(long, value_name = "THUMBPRINT")]
    pub expect_recipient: Vec<String>,
    /// The challenge that evidence was asked for with, in hexadecimal. Not for results: put a nonce
    /// into the inputs for those
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub expect_challenge: Option<Bytes>,
    /// The inputs that the task was started with: a JSON array, or the start message
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// Checks that must have been made, for example `measurement,component`; one that was not makes
    /// the whole fail. `all` names all that apply, and fails for a warning too
    #[arg(long, value_name = "CHECK,…", value_delimiter = ',')]
    pub require: Vec<String>,
}

/// Subcommands of `init-data`.
#[derive(Debug, Subcommand)]
pub enum InitDataCommand {
    /// Make the init-data document to start a VM with, of a settings document
    Make(InitDataMake),
    /// Say what an init-data document binds, and with which digest
    Show(InitDataShow),
}

/// Arguments of `init-data make`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct InitDataMake {
    /// The settings document. It must hold no credential, because init-data is public
    #[arg(value_name = "SETTINGS")]
    pub settings: PathBuf,
    /// The digest: sha256 for SEV-SNP, sha384 for TDX; either is bound by both
    #[arg(long, value_name = "ALGORITHM", default_value = "sha256")]
    pub algorithm: DigestAlgorithm,
    /// Where the document goes; a file that exists is kept
    #[arg(long, short = 'o', value_name = "FILE")]
    pub out: PathBuf,
}

/// Arguments of `init-data show`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct InitDataShow {
    /// The init-data document
    #[arg(value_name = "FILE")]
    pub document: PathBuf,
}

/// Subcommands of `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Read a policy and show its digest
    Check(PolicyCheck),
}

/// Arguments of `policy check`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct PolicyCheck {
    /// The policy, in TOML
    #[arg(value_name = "FILE")]
    pub policy: PathBuf,
    #[command(flatten)]
    pub types: KeyTypes,
}

/// Bytes from hexadecimal text. A type of its own, so that clap does not take it for a list of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

fn hexadecimal(text: &str) -> Result<Bytes, String> {
    match hex::decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(Bytes(bytes)),
        _ => Err("write bytes as pairs of hexadecimal digits".to_owned()),
    }
}

fn image_key_types(text: &str) -> Result<ImageKeyTypes, ImageKeyTypesError> {
    ImageKeyTypes::new(text.split(',').map(str::to_owned))
}

/// A point in time that somebody typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(OffsetDateTime);

impl From<Moment> for SystemTime {
    fn from(moment: Moment) -> Self {
        moment.0.into()
    }
}

/// RFC 3339, in UTC.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_offset(UtcOffset::UTC).format(&Rfc3339);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    match OffsetDateTime::parse(&whole, &Rfc3339) {
        Ok(time) if (1970..=9998).contains(&time.year()) => Ok(Moment(time)),
        _ => Err(
            "write a date, 2026-01-31, or a time with its zone, 2026-01-31T12:00:00Z".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_or_times_with_their_zone() {
        for (text, shown) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "now",
            "2026-02-30",
            "2026-01-31T12:00:00",
            "1969-12-31",
            "31.01.2026",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        let start: SystemTime = moment("1970-01-02").unwrap().into();
        let day = std::time::Duration::from_secs(24 * 3600);
        assert_eq!(start, SystemTime::UNIX_EPOCH + day);
    }
}
