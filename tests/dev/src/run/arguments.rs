//! What can be typed.

use std::path::PathBuf;

use clap::Args;
use proplet_types::ResourceUri;

use crate::tee::Fake;

/// Arguments of `run`.
#[derive(Args)]
pub struct Arguments {
    /// The component or core module, a file.
    pub(super) component: PathBuf,
    /// Inputs. Put `--` before one that begins with a hyphen.
    #[arg(value_name = "INPUT")]
    pub(super) inputs: Vec<String>,
    /// The fake to attest with.
    #[arg(long, value_enum, default_value = "fake-snp")]
    pub(super) tee: Fake,
    /// The export to invoke, as the Manager's `--invoke`.
    #[arg(long, value_name = "EXPORT")]
    pub(super) invoke: Option<String>,
    /// The component's policy, TOML. Without it the component gets a policy that lets it see every
    /// `--secret`.
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// A resource of the key broker, with the file that holds it: `kbs:///repository/type/tag=FILE`.
    #[arg(long = "secret", value_name = "URI=FILE", value_parser = resource)]
    pub(super) secrets: Vec<(ResourceUri, PathBuf)>,
    /// A variable of the component's environment.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) environment: Vec<(String, String)>,
    /// Write the opened result to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// One JSON value on standard output: result, report, error.
    #[arg(long)]
    pub(super) json: bool,
    /// Show the host's log on standard error.
    #[arg(long)]
    pub(super) log: bool,
}

fn resource(text: &str) -> Result<(ResourceUri, PathBuf), String> {
    let (uri, path) = text
        .split_once('=')
        .filter(|(_, path)| !path.is_empty())
        .ok_or("write it as kbs:///repository/type/tag=FILE")?;
    let uri = uri
        .parse()
        .map_err(|error: proplet_types::ResourceUriError| error.to_string())?;
    Ok((uri, PathBuf::from(path)))
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_secret_is_an_address_and_a_file() {
        let (uri, path) = resource("kbs:///a/b/c=folder/x=y").unwrap();
        assert_eq!(uri.to_string(), "kbs:///a/b/c");
        assert_eq!(path, Path::new("folder/x=y"));
        for wrong in [
            "kbs:///a/b/c",
            "kbs:///a/b/c=",
            "=file",
            "kbs:///a/b=file",
            "",
        ] {
            assert!(resource(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(variable("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert!(variable("=x").is_err() && variable("A").is_err());
    }
}
