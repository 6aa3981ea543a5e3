//! What the Manager says and hears of latent tasks.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{BrokerError, Heard, Manager, PATIENCE, Task};

/// The topic of invoke messages.
const INVOKE: &str = "control/manager/invoke";
/// The topic of their answers.
const INVOKE_RESULTS: &str = "control/proplet/invoke_results";

/// What a proplet reported about an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvocationOutcome {
    /// The latent task.
    pub task_id: String,
    /// The invocation.
    pub invocation_id: String,
    /// The proplet.
    pub proplet_id: String,
    /// The result, or the sealed failure.
    pub results: String,
    /// The error.
    pub error: Option<String>,
}

impl Task {
    /// An invoke message as the Manager sends it; `null` for no inputs.
    #[must_use]
    pub fn invoke_message(&self, invocation: &str, inputs: Option<&[&str]>) -> Value {
        json!({
            "id": self.id, "broadcast": false, "proplet_id": self.proplet_id, "invocation_id": invocation,
            "inputs": inputs,
        })
    }
}

impl Manager {
    /// Invokes a latent task.
    ///
    /// # Errors
    /// [`BrokerError::Client`].
    pub async fn invoke(
        &self,
        task: &Task,
        invocation: &str,
        inputs: Option<&[&str]>,
    ) -> Result<(), BrokerError> {
        let message = task.invoke_message(invocation, inputs);
        self.send(INVOKE, message.to_string()).await
    }

    /// Waits for the answer to an invocation.
    ///
    /// # Errors
    /// [`BrokerError::Timeout`].
    pub async fn invoked(&self, invocation: &str) -> Result<InvocationOutcome, BrokerError> {
        let mut heard = self.heard.clone();
        let topic = format!("{}/{INVOKE_RESULTS}", self.prefix);
        let find = |messages: &Arc<Vec<Heard>>| {
            messages
                .iter()
                .filter(|message| message.topic == topic)
                .filter_map(|message| serde_json::from_slice(&message.payload).ok())
                .find(|outcome: &InvocationOutcome| outcome.invocation_id == invocation)
        };
        let came = heard.wait_for(|messages| find(messages).is_some());
        let what = || BrokerError::Timeout(format!("the answer to invocation {invocation}"));
        match timeout(PATIENCE, came).await {
            Ok(Ok(messages)) => find(&messages).ok_or_else(what),
            _ => Err(what()),
        }
    }

    /// How many answers to an invocation were received so far.
    #[must_use]
    pub fn answers_so_far(&self, invocation: &str) -> usize {
        let answers = self.on(INVOKE_RESULTS);
        let ours = answers
            .iter()
            .filter(|answer| answer["invocation_id"] == invocation);
        ours.count()
    }
}
