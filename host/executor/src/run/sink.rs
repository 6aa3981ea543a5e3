//! Where a component's own result goes: sealed at once, or kept as text.

use std::sync::{Mutex, PoisonError};

use proplet_jose::jwk::PublicKey;
use proplet_results::{receipt::RunOutcome, seal};
use proplet_runtime::{Outcome, PublishError, PublishedReceipt, ResultSink};
use proplet_types::{Code, Digest};

use super::sealing::{Sealer, Signed, not_made};
use crate::{outcome::TaskOutcome, refusal::Refusal};

/// The sink of a plain task: text, in clear.
#[derive(Default)]
pub(super) struct PlainSink {
    text: Mutex<Option<String>>,
}

impl PlainSink {
    /// What was published.
    pub(super) fn take(&self) -> Option<String> {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ResultSink for PlainSink {
    fn publish(&self, content: &[u8], _: &str) -> Result<PublishedReceipt, PublishError> {
        let text = std::str::from_utf8(content).map_err(|_| PublishError::NotText)?;
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        Ok(PublishedReceipt {
            jws: None,
            digest: Digest::of(content).to_string(),
        })
    }

    fn recipients(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The sink of an encrypted task: a result is sealed in the call that publishes it, so that no copy of
/// it waits in clear for the end of the task.
pub(super) struct SealedSink {
    pub sealer: Sealer,
    /// The export that the run invokes.
    pub export: String,
    pub published: Mutex<Option<Signed>>,
}

impl SealedSink {
    /// Seals what a run gave.
    pub(super) fn finish(&self, run: &Outcome) -> TaskOutcome {
        let mut outcome = match &run.value {
            Err(error) => self.sealer.failure(&run.export, error, &run.stderr),
            Ok(_) => self.success(run).unwrap_or_else(TaskOutcome::failed),
        };
        outcome.usage = Some(run.usage);
        outcome
    }

    fn success(&self, run: &Outcome) -> Result<TaskOutcome, Refusal> {
        let sealer = &self.sealer;
        let signed = match self.take().filter(|_| run.published) {
            Some(published) => published,
            None => {
                let (content, media_type) = run.content().ok_or_else(|| {
                    Refusal::new(Code::HostFailed, "the component ended well without a value")
                })?;
                let sealed = seal(&content, media_type, &sealer.recipients)
                    .map_err(|_| not_made("the result cannot be sealed to its recipients"))?;
                sealer.sign(RunOutcome::Completed, &run.export, sealed)?
            }
        };
        Ok(TaskOutcome {
            results: sealer.document(&signed)?,
            error: None,
            usage: None,
        })
    }

    /// What the component published itself.
    fn take(&self) -> Option<Signed> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ResultSink for SealedSink {
    fn publish(&self, content: &[u8], media_type: &str) -> Result<PublishedReceipt, PublishError> {
        let other = |error: &dyn std::fmt::Display| PublishError::Other(error.to_string());
        let sealer = &self.sealer;
        let sealed =
            seal(content, media_type, &sealer.recipients).map_err(|error| other(&error))?;
        let digest = sealed.digest.to_string();
        let signed = sealer
            .sign(RunOutcome::Completed, &self.export, sealed)
            .map_err(|error| other(&error))?;
        let jws = Some(signed.receipt.clone());
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(signed);
        Ok(PublishedReceipt { jws, digest })
    }

    fn recipients(&self) -> Vec<String> {
        let recipients = &self.sealer.recipients;
        recipients.iter().map(PublicKey::thumbprint).collect()
    }
}
