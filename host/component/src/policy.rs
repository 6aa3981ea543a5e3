//! The policy that travels inside a component.
//!
//! It is TOML in one custom section named [`SECTION`] at the top level of the component (or core module),
//! so the component digest and the image's encryption cover it. `docs/policy.md` describes the format.
//!
//! A policy is a claim, not a right. Anybody can write one; it counts only in a component that was
//! decrypted under a key that the key broker released, since only the owner of that key could have put it
//! there. This module reads and writes policies; whether one counts is decided by whoever decrypted the
//! component, and a task is granted what a policy says only when it counts.
//!
//! Unknown keys are errors, so that a misspelt restriction is not silently no restriction. A section inside
//! a nested module or component does not count: a component that was composed from others would otherwise
//! take over their policies.

use std::sync::Arc;

use proplet_types::{Digest, ResourceUri, ResourceUriError};
use serde::Deserialize;

mod error;
mod format;
mod hosts;
mod section;

pub use error::PolicyError;
use error::{bounded, invalid};
pub use format::{MAX_POLICY_BYTES, SECTION};

/// A policy that was read and checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Secrets that the component may ask for.
    pub secrets: Vec<SecretGrant>,
    /// Who may read the result.
    pub recipients: Recipients,
    /// Exports that a task may invoke; none named means the default export only.
    pub exports: Option<Vec<String>>,
    /// Hosts that the component may make requests to over TLS, as `name` or `name:port`.
    pub hosts: Vec<String>,
    /// Whether what a task uses while it runs is shown to whoever started it.
    pub metrics: bool,
    /// Limits below those of the host.
    pub limits: PolicyLimits,
}

/// A policy that was read from a component.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedPolicy {
    /// The policy. It is a claim: see [above](self) when it counts.
    pub policy: Arc<Policy>,
    /// Digest of its text.
    pub digest: Digest,
}

/// A secret that the component may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretGrant {
    /// Its address, which names no key broker.
    pub uri: ResourceUri,
    /// Whether the component may see its bytes.
    pub reveal: bool,
}

/// Who may read the result, as far as the policy says.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Recipients {
    /// The policy names nobody: the settings decide.
    #[default]
    Unnamed,
    /// These public keys, each a JWK. They are checked to be objects with a `kty` and no private part; the
    /// caller parses them.
    Keys(Vec<serde_json::Value>),
    /// The JWK set at this address of the key broker.
    Resource(ResourceUri),
}

/// Limits below those of the host. None leaves the host's limit as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyLimits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Time in milliseconds, waiting included.
    pub wall_clock_ms: Option<u64>,
    /// Processor time in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Bytes of standard output, standard error and the result together.
    pub output_bytes: Option<u64>,
    /// Resource handles that may be alive at once.
    pub handles: Option<u32>,
    /// How often the task may ask for evidence.
    pub evidence_quota: Option<u32>,
    /// How often the task may ask for a secret.
    pub secret_quota: Option<u32>,
}

/// The document as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    secrets: Vec<WrittenSecret>,
    recipients: Option<Vec<serde_json::Value>>,
    recipients_resource: Option<String>,
    exports: Option<Vec<String>>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    metrics: bool,
    #[serde(default)]
    limits: PolicyLimits,
}

/// A secret as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSecret {
    uri: String,
    #[serde(default)]
    reveal: bool,
}

impl Policy {
    /// Reads a policy from its TOML text.
    ///
    /// # Errors
    /// [`PolicyError`] names the key that is wrong.
    pub fn parse(toml: &[u8]) -> Result<Self, PolicyError> {
        if toml.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge(toml.len()));
        }
        let text = std::str::from_utf8(toml)
            .map_err(|error| PolicyError::Syntax(format!("not UTF-8: {error}")))?;
        let document: Document = toml::from_str(text)
            .map_err(|error| PolicyError::Syntax(error.message().to_owned()))?;
        document.check()
    }

    /// The policy inside a component or core module, with its digest (over the section's
    /// contents). None when there is no policy section at the top level.
    ///
    /// # Errors
    /// [`PolicyError`] when the bytes are not WebAssembly, when there are two sections, or when the policy
    /// is not valid. A policy that cannot be read is never the same as none.
    pub(crate) fn extract(component: &[u8]) -> Result<Option<EmbeddedPolicy>, PolicyError> {
        let Some(contents) = section::find(component)? else {
            return Ok(None);
        };
        Ok(Some(EmbeddedPolicy {
            policy: Arc::new(Self::parse(contents)?),
            digest: Digest::of(contents),
        }))
    }

    /// The component (or core module) with a policy in it. The text is checked, then kept byte for byte.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy is not valid, the bytes are not WebAssembly, or there is a policy
    /// already.
    pub fn embed(component: &[u8], toml: &[u8]) -> Result<Vec<u8>, PolicyError> {
        Self::parse(toml)?;
        if section::find(component)?.is_some() {
            return Err(PolicyError::Present);
        }
        Ok(section::append(component, toml))
    }
}

impl Document {
    fn check(self) -> Result<Policy, PolicyError> {
        if self.version != 1 {
            return invalid(
                "version",
                format!("{} is not a version that this host reads (1)", self.version),
            );
        }
        hosts::check(&self.hosts)?;
        let secrets = secrets(self.secrets)?;
        if let Some(exports) = &self.exports {
            bounded("exports", exports.len())?;
            if exports.iter().any(String::is_empty) {
                return invalid("exports", "an empty name".to_owned());
            }
        }
        self.limits.check()?;
        let recipients = recipients(self.recipients, self.recipients_resource)?;
        Ok(Policy {
            secrets,
            recipients,
            exports: self.exports,
            hosts: self.hosts,
            metrics: self.metrics,
            limits: self.limits,
        })
    }
}

impl PolicyLimits {
    fn check(&self) -> Result<(), PolicyError> {
        // A quota of 0 is a meaning: no evidence, no secrets. Anything else at 0 is a task that cannot run.
        let zeros = [
            self.memory_bytes,
            self.wall_clock_ms,
            self.cpu_ms,
            self.output_bytes,
        ];
        if zeros.contains(&Some(0)) || self.handles == Some(0) {
            return invalid("limits", "0 lets no task run".to_owned());
        }
        Ok(())
    }
}

fn secrets(written: Vec<WrittenSecret>) -> Result<Vec<SecretGrant>, PolicyError> {
    bounded("secrets", written.len())?;
    let mut secrets: Vec<SecretGrant> = Vec::with_capacity(written.len());
    for WrittenSecret { uri, reveal } in written {
        let uri =
            secret_uri(&uri).or_else(|reason| invalid("secrets", format!("`{uri}`: {reason}")))?;
        if secrets.iter().any(|secret| secret.uri == uri) {
            return invalid("secrets", format!("`{uri}` is there twice"));
        }
        secrets.push(SecretGrant { uri, reveal });
    }
    Ok(secrets)
}

fn recipients(
    keys: Option<Vec<serde_json::Value>>,
    resource: Option<String>,
) -> Result<Recipients, PolicyError> {
    match (keys, resource) {
        (None, None) => Ok(Recipients::Unnamed),
        (Some(_), Some(_)) => invalid(
            "recipients",
            "`recipients` and `recipients_resource` exclude each other".to_owned(),
        ),
        (None, Some(uri)) => {
            let uri = secret_uri(&uri)
                .or_else(|reason| invalid("recipients_resource", format!("`{uri}`: {reason}")))?;
            Ok(Recipients::Resource(uri))
        }
        (Some(keys), None) => {
            if keys.is_empty() {
                return invalid(
                    "recipients",
                    "an empty list; leave it out instead".to_owned(),
                );
            }
            bounded("recipients", keys.len())?;
            for (index, key) in keys.iter().enumerate() {
                check_public_key(key)
                    .or_else(|reason| invalid("recipients", format!("entry {index}: {reason}")))?;
            }
            Ok(Recipients::Keys(keys))
        }
    }
}

fn check_public_key(key: &serde_json::Value) -> Result<(), &'static str> {
    let object = key.as_object().ok_or("not a table")?;
    if !object.get("kty").is_some_and(serde_json::Value::is_string) {
        return Err("no `kty`: this is not a JWK");
    }
    // A policy is not a place for private keys, even in an encrypted component.
    if object.contains_key("d") || object.contains_key("k") {
        return Err("it holds a private or symmetric key; give the public key only");
    }
    Ok(())
}

/// Reads the address of a secret. Which key broker is asked is the settings' to say, so it names none.
///
/// # Errors
/// What is wrong with it, in words.
pub fn secret_uri(text: &str) -> Result<ResourceUri, String> {
    let uri: ResourceUri = text
        .parse()
        .map_err(|error: ResourceUriError| error.to_string())?;
    if uri.host().is_some() {
        return Err(
            "it must begin with `kbs:///`: the key broker is the one of the settings".to_owned(),
        );
    }
    Ok(uri)
}

#[cfg(test)]
mod tests;
