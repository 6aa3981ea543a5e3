//! What somebody wants run, whoever asks: the Manager by a message, or a person at a terminal.
//!
//! A request may come from anybody who can publish on a channel. [`Request::check`] holds it against what
//! can be known without asking anybody: sizes, names, characters. Everything else is checked on the way.

use std::{collections::BTreeMap, fmt};

use proplet_audit::TaskLog;
pub use proplet_types::text::is_id;
use proplet_types::{Code, ResourceUri};

use crate::{host_text, refusal::Refusal, text::Known, watch::Watch};

/// Most inputs that one task may have.
pub const MAX_INPUTS: usize = 4096;
/// Most environment variables that one task may have.
pub const MAX_VARIABLES: usize = 1024;
/// Longest task name, invoked export or image reference, in bytes.
pub const MAX_NAME_BYTES: usize = 2048;

/// What a short text takes in memory besides its characters, in bytes.
const TEXT_OVERHEAD: usize = 64;

/// A component to run, and what on.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the component comes from.
    pub source: Source,
    /// What it is to do.
    pub task: Task,
}

/// One run of a component.
#[derive(Clone)]
pub struct Task {
    /// Identifier of the task.
    pub id: String,
    /// Name of the task; also the export to invoke when there is one of that name.
    pub name: String,
    /// The inputs in order, numbers as their decimal text.
    pub inputs: Vec<String>,
    /// Arguments as they came (`cli_args` of a start message), for the receipt.
    pub arguments: Vec<String>,
    /// The export that the arguments ask for: [`invoked_export`].
    pub invoke: Option<String>,
    /// Environment of the component.
    pub env: BTreeMap<String, String>,
    /// Who looks on while it runs.
    pub watch: Watch,
    /// Its chain in the audit log. Without one it is given one when it runs.
    pub record: Option<TaskLog>,
}

/// Where a component comes from. What an encrypted task is follows from the variant: it cannot be
/// confused with a plain one further down.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// The bytes came with the request.
    File(Vec<u8>),
    /// A plain image, or an `http(s)://` address of a plain component.
    Plain(String),
    /// An encrypted image.
    Encrypted {
        /// The image reference.
        image: String,
        /// The key that the sender expects it to be encrypted with: [`expected_key`].
        expected_key: Option<ResourceUri>,
    },
}

impl Request {
    /// About how much memory the request takes while it waits, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Task {
            id,
            name,
            inputs,
            arguments,
            invoke,
            env,
            watch: _,
            record: _,
        } = &self.task;
        let source = match &self.source {
            Source::File(bytes) => bytes.len(),
            Source::Plain(image) => image.len(),
            Source::Encrypted {
                image,
                expected_key,
            } => image.len() + expected_key.as_ref().map_or(0, |key| key.path().len()),
        };
        let texts = [id, name]
            .into_iter()
            .chain(inputs)
            .chain(arguments)
            .chain(invoke)
            .chain(env.keys())
            .chain(env.values());
        source.saturating_add(text_bytes(texts))
    }

    /// What it would take at most with these inputs, in the place of its own, and these variables on top.
    #[must_use]
    pub fn bytes_with(&self, inputs: Option<&[String]>, env: &BTreeMap<String, String>) -> usize {
        let own = inputs.map_or(0, |_| text_bytes(self.task.inputs.iter()));
        let more = text_bytes(
            inputs
                .into_iter()
                .flatten()
                .chain(env.keys())
                .chain(env.values()),
        );
        self.bytes().saturating_sub(own).saturating_add(more)
    }

    /// Checks the request as far as that is possible without asking anybody.
    ///
    /// # Errors
    /// `task-invalid`.
    pub fn check(&self) -> Result<(), Refusal> {
        self.check_with(None, &BTreeMap::new())
    }

    /// Checks what it would be with these inputs, in the place of its own, and these variables on top, before anything is
    /// copied.
    ///
    /// # Errors
    /// `task-invalid`.
    pub fn check_with(
        &self,
        inputs: Option<&[String]>,
        env: &BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        let invalid = |words: &'static str| Err(Refusal::new(Code::TaskInvalid, words));
        let task = &self.task;
        if !is_id(&task.id) {
            return invalid("id must have 1 to 256 characters and no control characters");
        }
        if task.name.is_empty() || task.name.len() > MAX_NAME_BYTES {
            return invalid("name must have 1 to 2048 characters");
        }
        if inputs.unwrap_or(&task.inputs).len() > MAX_INPUTS {
            return invalid("there are more than 4096 inputs");
        }
        let more = env.keys().filter(|name| !task.env.contains_key(*name));
        if task.env.len().saturating_add(more.count()) > MAX_VARIABLES {
            return invalid("there are more than 1024 environment variables");
        }
        if task.env.iter().chain(env).any(|(name, value)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        }) {
            return invalid("env has a name that is empty or has `=`, or a NUL character");
        }
        match &self.source {
            Source::Plain(image) | Source::Encrypted { image, .. }
                if image.len() > MAX_NAME_BYTES =>
            {
                invalid("image_url is longer than 2048 bytes")
            }
            _ => Ok(()),
        }
    }
}

/// The key that the sender of a task names as `kbs_resource_path`: `repository/type/tag`, with or without a
/// slash or `kbs://` in front.
///
/// # Errors
/// `image-key-mismatch` for text that is not the path of a resource: no key has that name.
pub fn expected_key(text: &str) -> Result<ResourceUri, Refusal> {
    let parsed = if text.contains("://") {
        text.parse()
    } else {
        ResourceUri::from_path(text.strip_prefix('/').unwrap_or(text))
    };
    parsed.map_err(|error| {
        Refusal::new(
            Code::ImageKeyMismatch,
            host_text!(
                "kbs_resource_path is the name of no key: {}; write repository/type/tag",
                Known::of_request(&error.to_string())
            ),
        )
    })
}

/// The export that a task's arguments ask for. Arguments once were flags of a child process, which let the
/// sender of a task open directories and sockets of the host. The export is all that can still be chosen
/// there.
///
/// # Errors
/// `task-arguments` for anything but `--invoke NAME`, once.
pub fn invoked_export(arguments: &[String]) -> Result<Option<String>, Refusal> {
    let mut invoke = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = match argument.split_once('=') {
            Some(("--invoke", name)) => Some(name.to_owned()),
            _ if argument == "--invoke" => rest.next().cloned(),
            _ => {
                return Err(Refusal::new(
                    Code::TaskArguments,
                    "cli_args may hold `--invoke NAME` only: runtime flags are not taken from tasks",
                ));
            }
        };
        match name {
            Some(name) if is_export(&name) && invoke.is_none() => invoke = Some(name),
            _ => {
                return Err(Refusal::new(
                    Code::TaskArguments,
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

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("name", &self.name)
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

fn text_bytes<'a>(texts: impl Iterator<Item = &'a String>) -> usize {
    texts.fold(0, |bytes: usize, text| {
        bytes.saturating_add(text.len() + TEXT_OVERHEAD)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_named_by_its_path_or_address() {
        for same in [
            "default/key/a",
            "/default/key/a",
            "kbs:///default/key/a",
            "kbs://kbs.example/default/key/a",
        ] {
            assert_eq!(
                expected_key(same).unwrap().path(),
                "default/key/a",
                "{same}"
            );
        }
        // Whose key broker it is, is decided where that is known.
        let named = expected_key("kbs://kbs.example/default/key/a").unwrap();
        assert_eq!(named.host(), Some("kbs.example"));
    }

    #[test]
    fn a_path_that_names_no_key_is_refused_where_it_arrives() {
        for bad in [
            "other",
            "../key",
            "//default/key/a",
            "default/key/a/",
            "default/key/a?b",
            "kbs+sealed:///default/key/a",
            "https://kbs.example/default/key/a",
            "kbs://default/key/a",
            "kbs://kbs:///default/key/1",
            &"x".repeat(2000),
        ] {
            let refusal = expected_key(bad).unwrap_err();
            assert_eq!(refusal.code(), Code::ImageKeyMismatch, "{bad}");
            assert!(refusal.words().contains("kbs_resource_path"), "{refusal}");
        }
    }

    fn texts(count: usize) -> BTreeMap<String, String> {
        (0..count).map(|n| (n.to_string(), "x".into())).collect()
    }

    #[test]
    fn what_is_checked_before_it_is_made_is_what_is_checked_then() {
        let start = Request {
            source: Source::File(Vec::new()),
            task: Task {
                id: "a".into(),
                name: "run".into(),
                inputs: vec!["x".into(); MAX_INPUTS],
                arguments: Vec::new(),
                invoke: None,
                env: texts(MAX_VARIABLES - 1),
                watch: Watch::default(),
                record: None,
            },
        };
        let variable = |name: &str, value: &str| BTreeMap::from([(name.into(), value.into())]);
        for (inputs, env, is_taken) in [
            (None, BTreeMap::new(), true),
            (None, texts(MAX_VARIABLES), true),
            (None, texts(MAX_VARIABLES + 1), false),
            (None, variable("new", "x"), true),
            (None, variable("a=b", "x"), false),
            (None, variable("", "x"), false),
            (None, variable("a", "\0"), false),
            (Some(vec![String::new(); MAX_INPUTS]), texts(1), true),
            (Some(vec![String::new(); MAX_INPUTS + 1]), texts(1), false),
        ] {
            let mut made = start.clone();
            made.task.env.extend(env.clone());
            if let Some(inputs) = inputs.clone() {
                made.task.inputs = inputs;
            }
            let before = start.check_with(inputs.as_deref(), &env);
            assert_eq!(before, made.check());
            assert_eq!(before.is_ok(), is_taken);
        }
    }

    proptest! {
        #[test]
        fn any_text_names_a_key_or_is_refused(text in ".{0,60}|(/|kbs://)?[a-z/.]{0,30}") {
            if let Ok(key) = expected_key(&text) {
                prop_assert!(text.ends_with(key.path()));
            }
        }
    }
}
