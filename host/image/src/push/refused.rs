//! What a registry says when it does not take something.

use proplet_net::reach::Answer;
use proplet_types::text::server_words;
use reqwest::StatusCode;
use serde::Deserialize;

use super::session::Session;
use crate::registry::{Trouble, sent_on, unavailable};

/// The largest error answer that is read, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

impl Session<'_> {
    /// What an answer other than the right one means, with the registry's own words.
    pub(super) async fn refused(&self, what: &str, mut answer: Answer) -> Trouble {
        let status = answer.response.status();
        if answer.foreign {
            let error = sent_on(self.reference, &answer.host, status);
            return Trouble::of_status(error, &answer);
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return self.registry.unauthorized(self.reference).into();
        }
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = answer.chunk().await {
                let room = MAX_ERROR_BYTES.saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if body.len() >= MAX_ERROR_BYTES {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(self.config.read_timeout, read).await;
        let mut why = format!("it answered {what} with {status}");
        if status.is_redirection() {
            why.push_str(", and an upload is not sent to another address");
        }
        if let Some(said) = said(&body) {
            why.push_str(": ");
            why.push_str(&said);
        }
        Trouble::of_status(unavailable(self.reference, why), &answer)
    }
}

/// Code and message of the first error in an answer (OCI distribution specification, "Error Codes").
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        code: Option<String>,
        message: Option<String>,
    }
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let first = errors.errors.into_iter().next()?;
    let said: Vec<String> = [first.code, first.message].into_iter().flatten().collect();
    let said = said.join(", ");
    (!said.is_empty()).then(|| server_words(&said))
}
