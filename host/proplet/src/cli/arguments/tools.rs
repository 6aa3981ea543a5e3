//! What data owners and operators can type: measurements, keys, init-data and policies.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use proplet_hal::init_data::DigestAlgorithm;
use proplet_measure::snp::CpuType;
use proplet_types::ResourceUri;
use url::Url;

use super::{
    exit_codes::EXIT_CODES,
    images::KeyTypes,
    kbs::{Administrator, KeyBrokerWay},
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

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Import {
    /// The environment file of upstream's proplet: lines of NAME=VALUE
    #[arg(value_name = "ENVFILE")]
    pub environment: PathBuf,
    /// The file that it is used with, upstream's `config.toml`
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Where the settings document goes; a file that exists is kept
    #[arg(long, short = 'o', value_name = "FILE", default_value = "proplet.toml")]
    pub out: PathBuf,
    /// Where the credentials go, readable for their owner alone; a file that exists is kept
    #[arg(long, value_name = "FILE", default_value = "credentials.toml")]
    pub credentials_out: PathBuf,
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
    /// A file that goes with the settings, for example the CA that they name as `/run/proplet/measured/NAME`; it is as
    /// public as they are. May be repeated
    #[arg(long = "file", value_name = "NAME=PATH", value_parser = file)]
    pub files: Vec<(String, PathBuf)>,
    /// Where the document goes; a file that exists is kept
    #[arg(long, short = 'o', value_name = "FILE")]
    pub out: PathBuf,
}

fn file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => Err("write NAME=PATH".to_owned()),
    }
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
