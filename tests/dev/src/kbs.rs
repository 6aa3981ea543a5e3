//! `proplet-dev kbs get-resource`: whether a key broker releases a resource, without a VM.
//!
//! What `kbs-client get-resource` is for: after a key was uploaded and a policy set, whoever did that wants
//! to see that both work. The client is the production one; only the evidence is fake.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use proplet_kbs::{Failure, KbsClient, KbsConfig, KbsError};
use proplet_types::{Digest, ResourceUri, ResourceUriError};
use serde_json::json;
use url::Url;

use crate::tee::Fake;
use crate::terminal;

/// Subcommands of `kbs`.
#[derive(Subcommand)]
pub enum Command {
    /// Attests with a fake TEE and gets one resource. Says its size and digest, not what it is.
    GetResource(GetResource),
}

/// Arguments of `kbs get-resource`.
#[derive(Args)]
pub struct GetResource {
    /// The resource's address, or its path, REPOSITORY/TYPE/TAG.
    #[arg(value_name = "kbs:///REPOSITORY/TYPE/TAG", value_parser = resource)]
    resource: ResourceUri,
    /// The key broker, as https://host:port. Plain http is accepted: nothing here is confidential.
    #[arg(long, value_name = "URL")]
    kbs_url: Url,
    /// Certificates (PEM) that the key broker is trusted by, instead of the system's.
    #[arg(long, value_name = "FILE")]
    kbs_ca: Option<PathBuf>,
    /// How long to try to reach the key broker.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    kbs_timeout: u64,
    /// The fake to attest with.
    #[arg(long, value_enum, default_value = "sample")]
    tee: Fake,
    /// Write the resource to this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON value on standard output.
    #[arg(long)]
    json: bool,
}

/// Exit code 0: the resource was released; 1: it was not; 2: bad input; 3: the key broker is away.
pub async fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    let Command::GetResource(arguments) = command;
    let config = match config(&arguments) {
        Ok(config) => config,
        Err(error) => return Ok(bad(error.as_ref())),
    };
    let provider = arguments.tee.provider(None);
    let client = match KbsClient::new(config, provider) {
        Ok(client) => client,
        Err(error) => return Ok(bad(&error)),
    };
    let resource = match client.resource(&arguments.resource).await {
        Ok(resource) => resource,
        Err(error) => {
            terminal::complain(&error);
            return Ok(ExitCode::from(status(&error)));
        }
    };
    if let Some(path) = &arguments.out
        && let Err(error) = write(path, &resource.bytes)
    {
        let words = format!("cannot write {}: {error}; name a new file", path.display());
        return Ok(bad(&*Box::<dyn Error>::from(words)));
    }
    let (length, digest) = (resource.bytes.len(), Digest::of(&resource.bytes));
    let line = if arguments.json {
        let uri = arguments.resource.to_string();
        json!({ "resource": uri, "bytes": length, "digest": digest.to_string() }).to_string()
    } else {
        format!("{}: {length} bytes, {digest}", arguments.resource)
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn config(arguments: &GetResource) -> Result<KbsConfig, Box<dyn Error>> {
    let mut config = KbsConfig::new(arguments.kbs_url.clone());
    config.allow_http = true;
    config.timeout = Duration::from_secs(arguments.kbs_timeout);
    if let Some(path) = &arguments.kbs_ca {
        let read = std::fs::read(path);
        let pem = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        config.ca_pem = Some(pem);
    }
    Ok(config)
}

fn bad(error: &dyn Error) -> ExitCode {
    terminal::complain(error);
    ExitCode::from(2)
}

fn status(error: &KbsError) -> u8 {
    match error {
        KbsError::Config(_) | KbsError::ForeignHost { .. } => 2,
        KbsError::Unavailable { failure, .. } if *failure != Failure::WrongPath => 3,
        _ => 1,
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn resource(text: &str) -> Result<ResourceUri, ResourceUriError> {
    if text.contains("://") {
        text.parse()
    } else {
        ResourceUri::from_path(text)
    }
}
