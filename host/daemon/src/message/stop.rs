//! The stop message.

use proplet_executor::request::is_id;
use serde::Deserialize;

use super::{addressee::addressed_to, tolerant};

/// A request to stop a task. Managers have sent the id alone, the id with the proplet, and the whole
/// task: only these members are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Identifier of the task.
    pub id: String,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "tolerant::null_default")]
    id: String,
    #[serde(default, deserialize_with = "tolerant::null_or_empty")]
    proplet_id: Option<String>,
    #[serde(default, deserialize_with = "tolerant::null_default")]
    broadcast: bool,
}

impl Stop {
    /// Decodes a message on the stop topic. None when it is for another proplet, or has no id that could
    /// be one of ours: a stop has no answer of its own, so there is nothing else to do with it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], entity: &str) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(bytes).ok()?;
        let ours = addressed_to(wire.proplet_id.as_deref(), wire.broadcast, entity);
        (ours && is_id(&wire.id)).then_some(Self { id: wire.id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stop(text: &str) -> Option<Stop> {
        Stop::from_bytes(text.as_bytes(), "us")
    }

    #[test]
    fn every_form_in_use_is_read() {
        let wanted = Some(Stop { id: "1".into() });
        assert_eq!(stop(r#"{"id":"1"}"#), wanted);
        assert_eq!(
            stop(r#"{"id":"1","proplet_id":"us","broadcast":false}"#),
            wanted
        );
        assert_eq!(
            stop(r#"{"id":"1","name":"n","cli_args":null,"proplet_id":""}"#),
            wanted
        );
        assert_eq!(
            stop(r#"{"id":"1","proplet_id":"them","broadcast":true}"#),
            wanted
        );
    }

    #[test]
    fn others_are_left_alone() {
        assert_eq!(stop(r#"{"id":"1","proplet_id":"them"}"#), None);
        assert_eq!(stop(r#"{"id":""}"#), None);
        assert_eq!(stop(r#"{"id":5}"#), None);
        assert_eq!(stop("stop"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stop::from_bytes(&bytes, "us");
        }
    }
}
