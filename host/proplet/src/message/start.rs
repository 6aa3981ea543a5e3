//! The start message: which component to run, on what.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{addressed_to, is_id, tolerant};
use crate::refusal::Refusal;

/// Most inputs that one task may have.
pub const MAX_INPUTS: usize = 4096;
/// Most environment variables that one task may have.
pub const MAX_VARIABLES: usize = 1024;
/// Longest task name, invoked export or image reference, in bytes.
pub const MAX_NAME_BYTES: usize = 2048;

/// A start message that can be run, checked as far as it can be without asking anybody.
#[derive(Clone)]
pub struct Start {
    /// Identifier of the task.
    pub id: String,
    /// Name of the task; also the export to invoke when there is one of that name.
    pub name: String,
    /// Where the component comes from.
    pub source: Source,
    /// The inputs in order, numbers as their decimal text.
    pub inputs: Vec<String>,
    /// `cli_args` as they came, for the receipt.
    pub arguments: Vec<String>,
    /// The export that `cli_args` ask for.
    pub invoke: Option<String>,
    /// Environment of the component.
    pub env: BTreeMap<String, String>,
}

/// Where a component comes from. What an encrypted task is follows from the variant: it cannot be
/// confused with a plain one further down.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// The bytes came inside the message.
    File(Vec<u8>),
    /// A plain image, or an `http(s)://` address of a plain component.
    Plain(String),
    /// An encrypted image.
    Encrypted {
        /// The image reference.
        image: String,
        /// The key that the sender expects it to be encrypted with, `repository/type/tag`.
        kbs_resource_path: Option<String>,
    },
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("source", &self.source)
            .field("inputs", &self.inputs.len())
            .field("arguments", &self.arguments.len())
            .field("env", &self.env.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(bytes) => write!(f, "File({} bytes)", bytes.len()),
            Self::Plain(reference) => write!(f, "Plain({reference:?})"),
            Self::Encrypted { image, .. } => write!(f, "Encrypted({image:?})"),
        }
    }
}

/// A start message that cannot be run, with what is needed to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadStart {
    /// The task's id, when it can be read: then an answer is due.
    pub id: Option<String>,
    /// Why it cannot be run.
    pub refusal: Refusal,
}

/// What a message on the start topic is to this proplet.
#[derive(Debug)]
pub enum Decoded {
    /// A task to run.
    Task(Box<Start>),
    /// A task for another proplet.
    NotForUs,
    /// Not a task that can be run.
    Bad(BadStart),
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "tolerant::null_default")]
    id: String,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    name: String,
    #[serde(default, deserialize_with = "tolerant::null_or_empty")]
    image_url: Option<String>,
    #[serde(default, deserialize_with = "tolerant::null_or_empty")]
    file: Option<String>,
    #[serde(default, deserialize_with = "tolerant::inputs")]
    inputs: Vec<String>,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    cli_args: Vec<String>,
    #[serde(default, deserialize_with = "tolerant::environment")]
    env: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    encrypted: bool,
    #[serde(default, deserialize_with = "tolerant::null_or_empty")]
    kbs_resource_path: Option<String>,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    broadcast: bool,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    daemon: bool,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    latent: bool,
    #[serde(default, deserialize_with = "tolerant::null_or_empty")]
    proplet_id: Option<String>,
}

impl Decoded {
    /// Decodes a message on the start topic, for the proplet `entity`. Its size is bounded by the packet
    /// limit of the connection.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], entity: &str) -> Self {
        match serde_json::from_slice::<Wire>(bytes) {
            Ok(wire) => {
                if !addressed_to(wire.proplet_id.as_deref(), wire.broadcast, entity) {
                    return Self::NotForUs;
                }
                let id = Some(wire.id.clone()).filter(|id| is_id(id));
                match Start::check(wire) {
                    Ok(start) => Self::Task(Box::new(start)),
                    Err(refusal) => Self::Bad(BadStart { id, refusal }),
                }
            }
            Err(error) => {
                let salvage = tolerant::Salvage::from_bytes(bytes);
                if !addressed_to(salvage.proplet_id.as_deref(), salvage.broadcast, entity) {
                    return Self::NotForUs;
                }
                // The parser's own text may quote a value; where it stopped says enough.
                let kind = match error.classify() {
                    serde_json::error::Category::Data => "a member has the wrong type",
                    _ => "it is not JSON",
                };
                let (line, column) = (error.line(), error.column());
                Self::Bad(BadStart {
                    id: salvage.id.filter(|id| is_id(id)),
                    refusal: Refusal::new(
                        "task-invalid",
                        format!(
                            "the start message cannot be read: {kind} (line {line}, column {column})"
                        ),
                    ),
                })
            }
        }
    }
}

impl Start {
    fn check(wire: Wire) -> Result<Self, Refusal> {
        let invalid = |words: &str| Refusal::new("task-invalid", words);
        if !is_id(&wire.id) {
            return Err(invalid(
                "id must have 1 to 256 characters and no control characters",
            ));
        }
        if wire.name.is_empty() || wire.name.len() > MAX_NAME_BYTES {
            return Err(invalid("name must have 1 to 2048 characters"));
        }
        if wire.inputs.len() > MAX_INPUTS {
            return Err(invalid("there are more than 4096 inputs"));
        }
        if wire.env.len() > MAX_VARIABLES {
            return Err(invalid("there are more than 1024 environment variables"));
        }
        if wire.env.iter().any(|(name, value)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        }) {
            return Err(invalid(
                "env has a name that is empty or has `=`, or a NUL character",
            ));
        }
        if wire.daemon {
            return Err(Refusal::new(
                "task-unsupported",
                "daemon tasks are not supported: start the task without `daemon`",
            ));
        }
        if wire.latent {
            return Err(Refusal::new(
                "task-unsupported",
                "latent tasks are not supported: start the task without `latent`",
            ));
        }
        let invoke = invoked_export(&wire.cli_args)?;
        let source = source(
            wire.encrypted,
            wire.image_url,
            wire.file,
            wire.kbs_resource_path,
        )?;
        Ok(Self {
            id: wire.id,
            name: wire.name,
            source,
            inputs: wire.inputs,
            arguments: wire.cli_args,
            invoke,
            env: wire.env,
        })
    }
}

fn source(
    encrypted: bool,
    image_url: Option<String>,
    file: Option<String>,
    kbs_resource_path: Option<String>,
) -> Result<Source, Refusal> {
    let invalid = |words: &str| Refusal::new("task-invalid", words);
    if image_url
        .as_ref()
        .is_some_and(|image| image.len() > MAX_NAME_BYTES)
    {
        return Err(invalid("image_url is longer than 2048 bytes"));
    }
    match (encrypted, image_url, file) {
        (true, _, Some(_)) => Err(invalid(
            "an encrypted task must not have `file`: push the encrypted image and set image_url",
        )),
        (true, None, None) => Err(invalid("an encrypted task needs image_url")),
        (true, Some(image), None) => Ok(Source::Encrypted {
            image,
            kbs_resource_path,
        }),
        (false, _, Some(file)) => match STANDARD.decode(file) {
            Ok(bytes) => Ok(Source::File(bytes)),
            Err(_) => Err(invalid(
                "file is not base64 (standard alphabet, with padding)",
            )),
        },
        (false, Some(image), None) => Ok(Source::Plain(image)),
        (false, None, None) => Err(invalid("the task has neither file nor image_url")),
    }
}

/// `cli_args` once were flags of a child process, which let the sender of a task open directories and
/// sockets of the host. The export is all that can still be chosen there.
fn invoked_export(arguments: &[String]) -> Result<Option<String>, Refusal> {
    let mut invoke = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = match argument.split_once('=') {
            Some(("--invoke", name)) => Some(name.to_owned()),
            _ if argument == "--invoke" => rest.next().cloned(),
            _ => {
                return Err(Refusal::new(
                    "task-arguments",
                    "cli_args may hold `--invoke NAME` only: runtime flags are not taken from tasks",
                ));
            }
        };
        match name {
            Some(name) if is_export(&name) && invoke.is_none() => invoke = Some(name),
            _ => {
                return Err(Refusal::new(
                    "task-arguments",
                    "cli_args must hold `--invoke` once, followed by the name of an export",
                ));
            }
        }
    }
    Ok(invoke)
}

/// The name comes back in errors, so it must be fit to be shown.
fn is_export(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests;
