//! The start message: which component to run, on what.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_executor::{
    Refusal, Request, Source, Task, Watch, host_text,
    request::{MAX_NAME_BYTES, expected_key, invoked_export, is_id},
    text::HostText,
};
use proplet_types::Code;
use serde::Deserialize;

use super::{addressee::addressed_to, profile, tolerant};

/// A start message that cannot be run, with what is needed to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadStart {
    /// The task's id, when it can be read: then an answer is due.
    pub id: Option<String>,
    /// Why it cannot be run.
    pub refusal: Refusal,
}

/// A task to run, and how.
#[derive(Debug)]
pub struct Start {
    /// What is to run.
    pub request: Request,
    /// How.
    pub kind: TaskKind,
}

/// How a task is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Once, to its end.
    Task,
    /// Until it is stopped.
    Daemon,
    /// Not before it is invoked, and then once for every invocation.
    Latent,
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

/// The message as it is written.
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
    #[serde(default, deserialize_with = "tolerant::arguments")]
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
    #[serde(default)]
    monitoring_profile: profile::Written,
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
                match wire.into_start() {
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
                Self::Bad(BadStart {
                    id: salvage.id.filter(|id| is_id(id)),
                    refusal: Refusal::new(
                        Code::TaskInvalid,
                        host_text!(
                            "the start message cannot be read: {} (line {}, column {})",
                            HostText::from(kind),
                            error.line(),
                            error.column()
                        ),
                    ),
                })
            }
        }
    }
}

impl Wire {
    fn into_start(self) -> Result<Start, Refusal> {
        let kind = match (self.daemon, self.latent) {
            (false, false) => TaskKind::Task,
            (false, true) => TaskKind::Latent,
            (true, false) => TaskKind::Daemon,
            (true, true) => {
                return Err(Refusal::new(
                    Code::TaskInvalid,
                    "a task is `daemon` or `latent`, and not both",
                ));
            }
        };
        let watch = Watch::of(self.monitoring_profile.profile(self.daemon));
        let request = Request {
            source: source(
                self.encrypted,
                self.image_url,
                self.file,
                self.kbs_resource_path,
            )?,
            task: Task {
                invoke: invoked_export(&self.cli_args)?,
                id: self.id,
                name: self.name,
                inputs: self.inputs,
                arguments: self.cli_args,
                env: self.env,
                watch,
                record: None,
            },
        };
        request.check()?;
        Ok(Start { request, kind })
    }
}

fn source(
    encrypted: bool,
    image_url: Option<String>,
    file: Option<String>,
    kbs_resource_path: Option<String>,
) -> Result<Source, Refusal> {
    let invalid = |words: &'static str| Refusal::new(Code::TaskInvalid, words);
    // Also when `file` is what runs.
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
            expected_key: kbs_resource_path.as_deref().map(expected_key).transpose()?,
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

#[cfg(test)]
mod tests;
