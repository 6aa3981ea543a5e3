//! Results of a round of federated learning.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use proplet_executor::{Request, Source};
use serde::Serialize;
use serde_json::{Map, Value};

/// How updates are written, unless the task says otherwise.
const FORMAT: &str = "f32-delta";

/// The round that a plain task belongs to, by its environment. Its result goes out in another form, which the Manager
/// passes on to whoever puts the updates together. Of an encrypted task the result is sealed, so there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    id: String,
    samples: u64,
    format: String,
}

/// As it goes out, on `control/proplet/results`: without `proplet_id`, which stands in `results`.
#[derive(Serialize)]
struct Message<'a> {
    task_id: &'a str,
    results: Update<'a>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Update<'a> {
    task_id: &'a str,
    round_id: &'a str,
    proplet_id: &'a str,
    num_samples: u64,
    update_b64: String,
    format: &'a str,
    metrics: Map<String, Value>,
}

impl Round {
    /// Of a task that is about to run.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        if matches!(request.source, Source::Encrypted { .. }) {
            return None;
        }
        let variable = |name: &str| request.task.env.get(name).filter(|text| !text.is_empty());
        let samples = variable("FL_NUM_SAMPLES").and_then(|text| text.parse().ok());
        let format = variable("FL_FORMAT").map_or(FORMAT, String::as_str);
        Some(Self {
            id: variable("ROUND_ID")?.clone(),
            samples: samples.unwrap_or(1),
            format: format.to_owned(),
        })
    }

    /// The message with a result.
    #[must_use]
    pub fn payload(&self, task: &str, proplet: &str, result: &str) -> Bytes {
        let message = Message {
            task_id: task,
            results: Update {
                task_id: task,
                round_id: &self.id,
                proplet_id: proplet,
                num_samples: self.samples,
                update_b64: STANDARD.encode(result),
                format: &self.format,
                metrics: Map::new(),
            },
            error: None,
        };
        // Texts and numbers always make JSON.
        serde_json::to_vec(&message).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use proplet_executor::{Task, Watch};
    use serde_json::json;

    use super::*;

    fn round(source: Source, env: &[(&str, &str)]) -> Option<Round> {
        let env = env.iter();
        let task = Task {
            id: "t".into(),
            name: "fl-round-1".into(),
            inputs: Vec::new(),
            arguments: Vec::new(),
            invoke: None,
            env: env
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            watch: Watch::default(),
            record: None,
        };
        Round::of(&Request { source, task })
    }

    #[test]
    fn a_plain_task_with_a_round_has_its_form() {
        let env = [
            ("ROUND_ID", "r-7"),
            ("FL_NUM_SAMPLES", "32"),
            ("FL_FORMAT", "json"),
        ];
        let round = round(Source::Plain("trainer".into()), &env).unwrap();
        let payload = round.payload("t", "p", "[0.5]");
        let message: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            message,
            json!({
                "task_id": "t",
                "results": {"task_id": "t", "round_id": "r-7", "proplet_id": "p", "num_samples": 32,
                            "update_b64": "WzAuNV0=", "format": "json", "metrics": {}},
                "error": null,
            })
        );
    }

    #[test]
    fn what_is_not_set_has_its_usual_value_and_without_a_round_there_is_none() {
        let file = || Source::File(Vec::new());
        let usual = round(file(), &[("ROUND_ID", "r"), ("FL_NUM_SAMPLES", "many")]).unwrap();
        assert_eq!((usual.samples, usual.format.as_str()), (1, FORMAT));
        assert_eq!(round(file(), &[("FL_NUM_SAMPLES", "3")]), None);
        assert_eq!(round(file(), &[("ROUND_ID", "")]), None);
        let sealed = Source::Encrypted {
            image: "a".into(),
            expected_key: None,
        };
        assert_eq!(round(sealed, &[("ROUND_ID", "r")]), None);
    }
}
