//! One task: what is asked for, and what came of it.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::cancel::CancelToken;
use crate::error::RuntimeError;
use crate::gauge::Gauge;
use crate::grants::Grants;
use crate::limits::TaskLimits;
use crate::outside::Outside;

/// One input of a task.
#[derive(Clone, PartialEq, Eq)]
pub struct Input {
    /// The bytes as received (or as opened, for a sealed input).
    pub bytes: Zeroizing<Vec<u8>>,
    /// Media type, when the sender gave one.
    pub media_type: Option<String>,
}

impl Input {
    /// A text input of a start message.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            bytes: Zeroizing::new(text.into().into_bytes()),
            media_type: None,
        }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Input({} bytes, {:?})",
            self.bytes.len(),
            self.media_type
        )
    }
}

/// What a task asks for.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Identifier as the orchestrator chose it.
    pub task_id: String,
    /// Name of the task. It is `argv[0]` of a command, and the export to invoke if there is one of that
    /// name and `invoke` says nothing.
    pub name: String,
    /// The export to invoke, as `--invoke` named it: a function of the component, `interface#function`, or
    /// a function of a core module.
    pub invoke: Option<String>,
    /// Inputs in the order of the start message.
    pub inputs: Vec<Input>,
    /// The whole environment of the guest. Nothing is inherited from the host.
    pub env: BTreeMap<String, String>,
    /// What the task may use: the host's limits, lowered by the policy ([`TaskLimits::lowered_by`]).
    pub limits: TaskLimits,
    /// What the component may import and ask for.
    pub grants: Grants,
    /// What it reaches outside of itself.
    pub outside: Outside,
    /// Stops the task.
    pub cancel: CancelToken,
    /// Shows what it uses while it runs.
    pub gauge: Gauge,
}

impl TaskSpec {
    /// A task with default limits, no inputs, nothing granted and nothing outside.
    pub fn new(task_id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            task_id: task_id.into(),
            name: name.into(),
            invoke: None,
            inputs: Vec::new(),
            env: BTreeMap::new(),
            limits: TaskLimits::default(),
            grants: Grants::plain(),
            outside: Outside::default(),
            cancel: CancelToken::new(),
            gauge: Gauge::default(),
        }
    }
}

/// What came of a task. It holds the guest's words whole: what may leave, and in which form, is for the
/// caller to decide.
#[derive(Debug)]
pub struct Outcome {
    /// The value of the export, or why there is none.
    pub value: Result<Value, RuntimeError>,
    /// What the guest wrote to standard output.
    pub stdout: Zeroizing<Vec<u8>>,
    /// What the guest wrote to standard error.
    pub stderr: Zeroizing<Vec<u8>>,
    /// What the task used.
    pub usage: Usage,
    /// The export that was invoked, in its full form; empty when none was chosen.
    pub export: String,
    /// Whether the guest published a result. It then takes the place of the value, provided that the task
    /// ended well.
    pub published: bool,
}

/// What a task used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Most guest memory in use at once, in bytes.
    pub memory_peak_bytes: u64,
    /// Processor time in milliseconds, rounded up.
    pub cpu_ms: u64,
    /// Time from instantiation to the end in milliseconds, rounded up.
    pub wall_ms: u64,
    /// Bytes of standard output, standard error and the result.
    pub output_bytes: u64,
    /// How often the guest asked for evidence.
    pub evidence: u32,
    /// How often the guest asked for a secret.
    pub secrets: u32,
}

/// The value that an export returned.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub content: Content,
    /// Whether it stood in the `ok` of a `result`.
    pub in_ok: bool,
}

/// What a value is.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: a function without a result.
    Nothing,
    /// A `list<u8>`.
    Bytes(Zeroizing<Vec<u8>>),
    /// A `string`.
    Text(Zeroizing<String>),
    /// Any other type, as WAVE text; a core module's number as decimal text.
    Wave(Zeroizing<String>),
    /// The result is what a command wrote to standard output ([`Outcome::stdout`]).
    Stdout,
}

/// Media type of text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Media type of bytes.
pub const OCTETS: &str = "application/octet-stream";

impl Outcome {
    /// A task that was refused before anything ran.
    pub(crate) fn refused(error: RuntimeError, export: String) -> Self {
        Self {
            value: Err(error),
            stdout: Zeroizing::default(),
            stderr: Zeroizing::default(),
            usage: Usage::default(),
            export,
            published: false,
        }
    }

    /// The result of a plain task as one text, in the form of the orchestrator's own runtime: WAVE text of
    /// the value, decimal text of a core function's value, or a command's standard output, followed by a
    /// newline and its standard error if that is not empty. Bytes that are not UTF-8 are replaced. None
    /// when the task failed.
    pub fn plain_text(&self) -> Option<Zeroizing<String>> {
        let value = self.value.as_ref().ok()?;
        if value.content != Content::Stdout {
            return Some(value.to_wave());
        }
        let mut text = Zeroizing::new(String::from_utf8_lossy(&self.stdout).into_owned());
        if !self.stderr.is_empty() {
            text.push('\n');
            text.push_str(&String::from_utf8_lossy(&self.stderr));
        }
        Some(text)
    }

    /// The result of a task whose result is sealed: content and media type. A `list<u8>` is its raw bytes,
    /// a `string` its raw text, anything else its WAVE text; a command's standard output is text if it is
    /// UTF-8. None when the task failed.
    pub fn content(&self) -> Option<(Zeroizing<Vec<u8>>, &'static str)> {
        let value = self.value.as_ref().ok()?;
        Some(match &value.content {
            Content::Nothing => (Zeroizing::new(Vec::new()), TEXT),
            Content::Bytes(bytes) => (bytes.clone(), OCTETS),
            Content::Text(text) | Content::Wave(text) => {
                (Zeroizing::new(text.as_bytes().to_vec()), TEXT)
            }
            Content::Stdout => {
                let media_type = if std::str::from_utf8(&self.stdout).is_ok() {
                    TEXT
                } else {
                    OCTETS
                };
                (self.stdout.clone(), media_type)
            }
        })
    }
}

impl Value {
    /// The value as WAVE text, `ok(…)` included when it stood in one. Empty for nothing.
    pub fn to_wave(&self) -> Zeroizing<String> {
        let inner = match &self.content {
            Content::Nothing | Content::Stdout => Zeroizing::new(String::new()),
            Content::Wave(text) => text.clone(),
            Content::Text(text) => crate::wave::string(text),
            Content::Bytes(bytes) => wave_bytes(bytes),
        };
        match (self.in_ok, inner.is_empty()) {
            (false, _) => inner,
            (true, true) => Zeroizing::new("ok".to_owned()),
            (true, false) => Zeroizing::new(format!("ok({})", *inner)),
        }
    }
}

fn wave_bytes(bytes: &[u8]) -> Zeroizing<String> {
    use std::fmt::Write as _;
    let mut text = Zeroizing::new(String::with_capacity(2 + 5 * bytes.len()));
    text.push('[');
    for (index, byte) in bytes.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{byte}", if index == 0 { "" } else { ", " });
    }
    text.push(']');
    text
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Value({:?}{})",
            self.content,
            if self.in_ok { ", in ok" } else { "" }
        )
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
            Self::Wave(text) => write!(f, "WAVE text of {} bytes", text.len()),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

#[cfg(test)]
mod tests;
