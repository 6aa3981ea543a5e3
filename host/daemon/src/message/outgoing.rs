//! What this proplet publishes.

use bytes::Bytes;
use proplet_executor::Refusal;
use serde::Serialize;

use super::InvocationId;

/// The outcome of a task, on `control/proplet/results`.
///
/// The Manager stores `results` as it is and shows the task as failed when `error` is a non-empty
/// string. `results` is always present; `error` is a string or `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResultMessage {
    /// Identifier of the task.
    pub task_id: String,
    /// This proplet.
    pub proplet_id: String,
    /// Upstream's text for a plain task; the result document's JSON text for an encrypted one, also
    /// when it failed and its failure is sealed. Empty when there is nothing to tell but the error.
    pub results: String,
    /// `<code>: <words>` of a failure.
    pub error: Option<String>,
}

impl ResultMessage {
    /// The answer to a task that was refused.
    #[must_use]
    pub fn refused(task_id: &str, proplet_id: &str, refusal: &Refusal) -> Self {
        Self {
            task_id: task_id.to_owned(),
            proplet_id: proplet_id.to_owned(),
            results: String::new(),
            error: Some(refusal.to_string()),
        }
    }

    /// The message as it goes out.
    #[must_use]
    pub fn to_payload(&self) -> Bytes {
        // Strings always make JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The outcome of an invocation, on `control/proplet/invoke_results`. The members are those of a task's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvokeResultMessage {
    /// Identifier of the latent task.
    pub task_id: String,
    /// Identifier of the invocation.
    pub invocation_id: String,
    /// This proplet.
    pub proplet_id: String,
    /// As in [`ResultMessage`].
    pub results: String,
    /// `<code>: <words>` of a failure.
    pub error: Option<String>,
}

impl InvokeResultMessage {
    /// The answer to an invocation that was refused.
    #[must_use]
    pub fn refused(id: &InvocationId, proplet_id: &str, refusal: &Refusal) -> Self {
        Self {
            task_id: id.task.clone(),
            invocation_id: id.invocation.clone(),
            proplet_id: proplet_id.to_owned(),
            results: String::new(),
            error: Some(refusal.to_string()),
        }
    }

    /// The message as it goes out.
    #[must_use]
    pub fn to_payload(&self) -> Bytes {
        // Strings always make JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// A request to the image proxy, on `registry/proplet`.
#[derive(Debug, Clone, Serialize)]
pub struct Fetch<'a> {
    /// The image, by its name in the task.
    pub app_name: &'a str,
}

/// A sign of life, on `control/proplet/alive`.
#[derive(Debug, Clone, Serialize)]
pub struct Alive<'a> {
    /// This proplet.
    pub proplet_id: &'a str,
    /// Always `alive`: the Manager does not read it, so nothing else can be said on this topic.
    pub status: &'static str,
    /// Namespace from the settings.
    pub namespace: &'a str,
}

/// Discovery, on `control/proplet/create`.
#[derive(Debug, Clone, Serialize)]
pub struct Create<'a> {
    /// This proplet.
    pub proplet_id: &'a str,
    /// Namespace from the settings.
    pub namespace: &'a str,
    /// What this machine is.
    pub metadata: Metadata,
}

/// What this machine is, as the Manager shows it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Metadata {
    /// Free text from the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Free words from the settings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Free text from the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Always `binary`.
    pub environment: &'static str,
    /// Operating system.
    pub os: &'static str,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Processor architecture.
    pub cpu_arch: &'static str,
    /// Memory of the machine, in bytes; 0 when it is not told.
    pub total_memory_bytes: u64,
    /// Version of this program.
    pub proplet_version: &'static str,
    /// Always `wasmtime-internal`.
    pub wasm_runtime: &'static str,
}
