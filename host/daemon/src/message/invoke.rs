//! The invoke message: one run of a latent task.

use std::collections::BTreeMap;

use proplet_executor::{
    Refusal, host_text,
    request::{MAX_INPUTS, MAX_VARIABLES, is_id},
    text::HostText,
};
use proplet_types::Code;
use serde::Deserialize;

use super::{addressee::addressed_to, tolerant};

/// Names an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InvocationId {
    /// The latent task.
    pub task: String,
    /// The invocation of it.
    pub invocation: String,
}

/// One run of a latent task.
#[derive(Clone)]
pub struct Invoke {
    /// Which one.
    pub id: InvocationId,
    /// Its inputs; none for those of the start.
    pub inputs: Option<Vec<String>>,
    /// Variables beside those of the start, or in the place of some of them.
    pub env: BTreeMap<String, String>,
}

/// What a message on the invoke topic is to this proplet.
#[derive(Debug)]
pub enum DecodedInvoke {
    /// An invocation.
    Invoke(Box<Invoke>),
    /// An invocation on another proplet.
    NotForUs,
    /// Not an invocation that can be done. With the ids, when both can be read: then an answer is due.
    Bad(Option<InvocationId>, Refusal),
}

/// The message as it is written.
#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "tolerant::null_default")]
    id: String,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    invocation_id: String,
    #[serde(default, deserialize_with = "tolerant::inputs_if_any")]
    inputs: Option<Vec<String>>,
    #[serde(default, deserialize_with = "tolerant::environment")]
    env: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "tolerant::null_or_empty")]
    proplet_id: Option<String>,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    broadcast: bool,
}

impl DecodedInvoke {
    /// Decodes a message on the invoke topic, for the proplet `entity`. Its size is bounded by the packet limit of the
    /// connection.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], entity: &str) -> Self {
        match serde_json::from_slice::<Wire>(bytes) {
            Ok(wire) => {
                if !addressed_to(wire.proplet_id.as_deref(), wire.broadcast, entity) {
                    return Self::NotForUs;
                }
                let id = InvocationId::of(&wire.id, &wire.invocation_id);
                match (wire.check(), id) {
                    (Ok(()), Some(id)) => Self::Invoke(Box::new(Invoke {
                        id,
                        inputs: wire.inputs,
                        env: wire.env,
                    })),
                    (Err(refusal), id) => Self::Bad(id, refusal),
                    (Ok(()), None) => Self::Bad(None, no_ids()),
                }
            }
            Err(error) => {
                let salvage = tolerant::Salvage::from_bytes(bytes);
                if !addressed_to(salvage.proplet_id.as_deref(), salvage.broadcast, entity) {
                    return Self::NotForUs;
                }
                let ids = salvage.id.zip(salvage.invocation_id);
                let id = ids.and_then(|(task, invocation)| InvocationId::of(&task, &invocation));
                // The parser's own text may quote a value; where it stopped says enough.
                let kind = match error.classify() {
                    serde_json::error::Category::Data => "a member has the wrong type",
                    _ => "it is not JSON",
                };
                let words = host_text!(
                    "the invoke message cannot be read: {} (line {}, column {})",
                    HostText::from(kind),
                    error.line(),
                    error.column()
                );
                Self::Bad(id, Refusal::new(Code::TaskInvalid, words))
            }
        }
    }
}

impl Wire {
    fn check(&self) -> Result<(), Refusal> {
        let invalid = |words: &'static str| Err(Refusal::new(Code::TaskInvalid, words));
        if self.inputs.as_ref().map_or(0, Vec::len) > MAX_INPUTS {
            return invalid("there are more than 4096 inputs");
        }
        if self.env.len() > MAX_VARIABLES {
            return invalid("there are more than 1024 environment variables");
        }
        Ok(())
    }
}

impl InvocationId {
    /// None when one of the two cannot be an id.
    fn of(task: &str, invocation: &str) -> Option<Self> {
        (is_id(task) && is_id(invocation)).then(|| Self {
            task: task.to_owned(),
            invocation: invocation.to_owned(),
        })
    }

    /// One text for both. No task's id is the same: there are no line ends in ids.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}\n{}", self.task, self.invocation)
    }

    /// Whether a key is that of an invocation of this task.
    #[must_use]
    pub fn is_key_of(key: &str, task: &str) -> bool {
        key.strip_prefix(task)
            .is_some_and(|rest| rest.starts_with('\n'))
    }
}

impl std::fmt::Display for InvocationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of task {}", self.invocation, self.task)
    }
}

impl std::fmt::Debug for Invoke {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invoke")
            .field("id", &self.id)
            .field("inputs", &self.inputs.as_ref().map(Vec::len))
            .field("env", &self.env.len())
            .finish()
    }
}

fn no_ids() -> Refusal {
    Refusal::new(
        Code::TaskInvalid,
        "id and invocation_id must have 1 to 256 characters and no control characters",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn decode(message: &Value) -> DecodedInvoke {
        DecodedInvoke::from_bytes(message.to_string().as_bytes(), "us")
    }

    fn invoke(message: &Value) -> Invoke {
        match decode(message) {
            DecodedInvoke::Invoke(invoke) => *invoke,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_manager_sends_is_read() {
        let sent = invoke(&json!({
            "id": "t", "broadcast": false, "proplet_id": "us", "invocation_id": "i",
            "inputs": ["10", 20], "env": {"K": "v"}
        }));
        assert_eq!(
            (sent.id.task.as_str(), sent.id.invocation.as_str()),
            ("t", "i")
        );
        assert_eq!(sent.inputs.unwrap(), ["10", "20"]);
        assert_eq!(sent.env["K"], "v");
    }

    #[test]
    fn inputs_that_are_not_there_are_those_of_the_start_and_none_are_none() {
        let base = json!({"id": "t", "invocation_id": "i", "inputs": null, "env": null});
        assert_eq!(invoke(&base).inputs, None);
        let absent = json!({"id": "t", "invocation_id": "i", "proplet_id": ""});
        assert_eq!(invoke(&absent).inputs, None);
        let none = json!({"id": "t", "invocation_id": "i", "inputs": []});
        assert_eq!(invoke(&none).inputs, Some(Vec::new()));
    }

    #[test]
    fn others_are_left_alone() {
        for message in [
            json!({"id": "t", "invocation_id": "i", "proplet_id": "them"}),
            json!({"id": "t", "invocation_id": "i", "proplet_id": "them", "inputs": true}),
        ] {
            assert!(matches!(decode(&message), DecodedInvoke::NotForUs));
        }
        let all = json!({"id": "t", "invocation_id": "i", "proplet_id": "them", "broadcast": true});
        invoke(&all);
    }

    #[test]
    fn what_cannot_be_done_is_answered_where_it_has_both_ids() {
        let many: Vec<u32> = (0..=4096).collect();
        let variables: BTreeMap<String, String> = (0..=1024)
            .map(|number| (format!("V{number}"), String::new()))
            .collect();
        for rest in [
            json!({"inputs": true}),
            json!({"inputs": [true]}),
            json!({"inputs": many}),
            json!({"env": variables}),
            json!({"env": ["a"]}),
        ] {
            let mut message = json!({"id": "t", "invocation_id": "i"});
            let rest = rest.as_object().unwrap().clone();
            message.as_object_mut().unwrap().extend(rest);
            let DecodedInvoke::Bad(Some(id), refusal) = decode(&message) else {
                panic!("{message}");
            };
            assert_eq!(id.key(), "t\ni");
            assert_eq!(refusal.code(), "task-invalid");
        }
        let long = "x".repeat(257);
        for message in [
            json!({"id": "t"}),
            json!({"invocation_id": "i"}),
            json!({"id": "t", "invocation_id": "a\nb"}),
            json!({"id": long, "invocation_id": "i"}),
            json!({"id": 1, "invocation_id": "i"}),
        ] {
            let decoded = decode(&message);
            assert!(matches!(decoded, DecodedInvoke::Bad(None, _)), "{message}");
        }
        let cut = br#"{"id":"t","invocation_id":"i","inputs":["#;
        let decoded = DecodedInvoke::from_bytes(cut, "us");
        assert!(matches!(decoded, DecodedInvoke::Bad(Some(_), _)));
    }

    #[test]
    fn a_key_names_one_invocation_of_one_task() {
        let key = InvocationId::of("a", "b").unwrap().key();
        assert!(InvocationId::is_key_of(&key, "a"));
        for other in ["", "a\n", "a\nb", "b", "ab"] {
            assert!(!InvocationId::is_key_of(&key, other), "{other:?}");
        }
        assert!(!InvocationId::is_key_of("a", "a"));
    }

    #[test]
    fn debug_shows_no_inputs() {
        let sent = invoke(
            &json!({"id": "t", "invocation_id": "i", "inputs": ["s3cret"],
                                   "env": {"A": "s3cret"}}),
        );
        assert!(!format!("{sent:?}").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = DecodedInvoke::from_bytes(&bytes, "us");
        }
    }
}
