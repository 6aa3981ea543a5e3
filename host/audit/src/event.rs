//! What can be on record.
//!
//! An event is made of parts of a few kinds, none of which can hold content: codes, digests, numbers, ids of tasks. What
//! says who works with whom goes into a part of its own, which is sealed ([`crate::Sealing`]).

use std::collections::BTreeMap;

use proplet_types::{Code, Digest, ResourceUri, text::short_line};
use serde_json::Value;

/// The longest id of a task in an entry, in bytes: those of tasks that are taken have no more.
const MAX_TASK_BYTES: usize = 256;
/// The longest of the other words, in characters.
const MAX_WORD_CHARS: usize = 128;

/// The kind of [`Event::Component`].
pub(crate) const COMPONENT: &str = "component";

/// Why something was refused or failed, as one word; none when it was not.
pub type Refused = Option<&'static str>;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What this host is.
    Host {
        /// Thumbprint of the key that signs its receipts.
        receipt_key: String,
        /// What gathers evidence here; none without a TEE.
        attester: Option<String>,
        /// Whether that is hardware.
        is_hardware: bool,
        /// Whether the VM image is of the debug flavour.
        is_debug: bool,
    },
    /// Whether encrypted tasks are taken, asked of the TEE when the daemon started.
    Readiness {
        /// Why not.
        refused: Refused,
    },
    /// This host attested to the key broker, or to the attestation service for it.
    Attestation {
        /// The image that a key was asked for, where the key broker was told.
        image: Option<Digest>,
        /// The component that asked, where the key broker was told.
        component: Option<Digest>,
        /// Why there was no session.
        refused: Refused,
    },
    /// Evidence for the receipt key of this host.
    InstanceEvidence {
        /// Why there was none.
        refused: Refused,
    },
    /// A key was released that opens an image.
    Key {
        /// Digest of the image's manifest, where it is known.
        image: Option<Digest>,
        /// Its address.
        uri: ResourceUri,
        /// Why it was not.
        refused: Refused,
    },
    /// A credential of this host was released.
    Credential {
        /// The setting that names it.
        setting: &'static str,
        /// Its address.
        uri: ResourceUri,
        /// Why it was not.
        refused: Refused,
    },
    /// Another program asked for evidence, by the interface for that.
    AgentEvidence {
        /// Digest of its challenge, for recipients only.
        challenge: Digest,
        /// Whether everybody is given it, and not only programs in this machine.
        outside: bool,
        /// Why there was none.
        refused: Refused,
    },
    /// Another program asked for a token of the attestation service.
    AgentToken {
        /// Why there was none.
        refused: Refused,
    },
    /// Requests of other programs that were refused, beyond those that have an entry each.
    AgentRefused {
        /// How many.
        count: u64,
    },
    /// A start that was not taken.
    TaskRefused {
        /// The task.
        task: String,
        /// Why.
        code: Code,
    },
    /// Starts that were not taken, beyond those that have an entry each.
    TasksRefused {
        /// How many.
        count: u64,
    },
    /// A task that an earlier process left without an end, by what was found on the disk.
    TaskInterrupted {
        /// The task.
        task: String,
    },
    /// Such tasks, beyond those that have an entry each.
    TasksInterrupted {
        /// How many.
        count: u64,
    },
    /// The daemon was told to stop, and stopped.
    Stopped,
    /// A task was taken.
    Accepted {
        /// Whether it is an encrypted one.
        encrypted: bool,
    },
    /// The component of a task is there.
    Component {
        /// How it came here.
        origin: Origin,
        /// Its digest.
        component: Digest,
        /// That of its image's manifest.
        image: Option<Digest>,
        /// That of the policy in force.
        policy: Option<Digest>,
        /// The key that opened it.
        key: Option<ResourceUri>,
        /// Thumbprints of those who may read the result.
        recipients: Vec<String>,
    },
    /// The guest asked for a secret.
    Secret {
        /// Its address.
        uri: ResourceUri,
        /// Why it was not given.
        refused: Refused,
    },
    /// The guest asked for evidence.
    WorkloadEvidence {
        /// Digest of its challenge. The guest chose that, and whoever can guess it has it by its digest, so this is for
        /// recipients only.
        challenge: Digest,
        /// Why there was none.
        refused: Refused,
    },
    /// A result was sealed. The receipt holds the head that the chain has with this.
    Result {
        /// Digest of the sealed result.
        digest: Digest,
        /// The receipt's place among those of its key.
        sequence: u64,
        /// Whether the run ended well.
        completed: bool,
    },
}

/// How a component came to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In clear.
    Plain,
    /// Encrypted, and ready from an earlier task of the same session or opened for this one.
    Encrypted,
}

/// An event as the members of an entry.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub kind: &'static str,
    pub task: Option<String>,
    pub code: Option<&'static str>,
    pub about: BTreeMap<&'static str, Value>,
    /// For recipients only.
    pub addresses: BTreeMap<&'static str, Value>,
}

impl Parts {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// The id as it is: it is compared with the one in the task's receipt. JSON has no line breaks in texts, so it cannot
    /// end the line; whoever shows it to people cleans it then.
    pub(crate) fn task(self, task: &str) -> Self {
        let end = task.floor_char_boundary(MAX_TASK_BYTES);
        Self {
            task: task.get(..end).map(str::to_owned),
            ..self
        }
    }

    pub(crate) fn code(self, code: Refused) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn about(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.about.insert(name, value.into());
        self
    }

    pub(crate) fn word(self, name: &'static str, word: &str) -> Self {
        self.about(name, short_line(word, MAX_WORD_CHARS))
    }

    pub(crate) fn digest(self, name: &'static str, digest: Option<Digest>) -> Self {
        match digest {
            Some(digest) => self.about(name, digest.to_string()),
            None => self,
        }
    }

    fn address(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.addresses.insert(name, value.into());
        self
    }

    fn uri(self, name: &'static str, uri: &ResourceUri) -> Self {
        self.address(name, uri.to_string())
    }
}

impl From<Event> for Parts {
    fn from(event: Event) -> Self {
        match event {
            Event::Host {
                receipt_key,
                attester,
                is_hardware,
                is_debug,
            } => {
                let parts = Self::new("host")
                    .word("receipt_key", &receipt_key)
                    .about("hardware", is_hardware)
                    .about("debug", is_debug);
                match attester {
                    Some(attester) => parts.word("attester", &attester),
                    None => parts,
                }
            }
            Event::Readiness { refused } => Self::new("readiness").code(refused),
            Event::Attestation {
                image,
                component,
                refused,
            } => Self::new("attestation")
                .code(refused)
                .digest("image", image)
                .digest("component", component),
            Event::InstanceEvidence { refused } => Self::new("instance-evidence").code(refused),
            Event::Key {
                image,
                uri,
                refused,
            } => Self::new("key")
                .code(refused)
                .digest("image", image)
                .uri("address", &uri),
            Event::Credential {
                setting,
                uri,
                refused,
            } => Self::new("credential")
                .code(refused)
                .word("setting", setting)
                .uri("address", &uri),
            Event::AgentEvidence {
                challenge,
                outside,
                refused,
            } => Self::new("agent-evidence")
                .code(refused)
                .about("outside", outside)
                .address("challenge", challenge.to_string()),
            Event::AgentToken { refused } => Self::new("agent-token").code(refused),
            Event::AgentRefused { count } => Self::new("agent-refused").about("count", count),
            Event::TaskRefused { task, code } => Self::new("task-refused")
                .task(&task)
                .code(Some(code.as_str())),
            Event::TasksRefused { count } => Self::new("tasks-refused").about("count", count),
            Event::TaskInterrupted { task } => Self::new("task-interrupted").task(&task),
            Event::TasksInterrupted { count } => {
                Self::new("tasks-interrupted").about("count", count)
            }
            Event::Stopped => Self::new("stopped"),
            Event::Accepted { encrypted } => Self::new("accepted").about("encrypted", encrypted),
            Event::Component {
                origin,
                component,
                image,
                policy,
                key,
                recipients,
            } => {
                let parts = Self::new(COMPONENT)
                    .word(
                        "origin",
                        match origin {
                            Origin::Plain => "plain",
                            Origin::Encrypted => "encrypted",
                        },
                    )
                    .digest("component", Some(component))
                    .digest("image", image)
                    .digest("policy", policy);
                let parts = match key {
                    Some(key) => parts.uri("key", &key),
                    None => parts,
                };
                match recipients.is_empty() {
                    true => parts,
                    false => parts.address("recipients", recipients),
                }
            }
            Event::Secret { uri, refused } => {
                Self::new("secret").code(refused).uri("address", &uri)
            }
            Event::WorkloadEvidence { challenge, refused } => Self::new("evidence")
                .code(refused)
                .address("challenge", challenge.to_string()),
            Event::Result {
                digest,
                sequence,
                completed,
            } => Self::new("result")
                .digest("result_digest", Some(digest))
                .about("sequence", sequence)
                .about("completed", completed),
        }
    }
}
