//! Where a component's own result goes: sealed at once, or kept as text.

use std::sync::{Arc, Mutex, PoisonError};

use proplet_hal::clock::Clock;
use proplet_jose::{jwe::Jwe, jwk::PublicKey};
use proplet_results::{
    Digest, ReceiptClaims, ReceiptKey, ResultDocument, Sealed, receipt::RunOutcome, seal,
};
use proplet_runtime::{PublishError, PublishedReceipt, ResultSink};

use super::identity::Attested;
use crate::refusal::Refusal;

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
    pub recipients: Vec<PublicKey>,
    pub key: Arc<ReceiptKey>,
    pub clock: Arc<dyn Clock>,
    pub attested: Attested,
    /// What the receipt will say, but for how the run ended, what it gave, and when.
    pub claims: ReceiptClaims,
    pub published: Mutex<Option<Signed>>,
}

/// A sealed result with its receipt.
pub(super) struct Signed {
    jwe: Jwe,
    receipt: String,
}

impl SealedSink {
    /// Seals a result or a failure and signs for it.
    pub(super) fn sign(
        &self,
        outcome: RunOutcome,
        export: &str,
        sealed: Sealed,
    ) -> Result<Signed, Refusal> {
        let mut claims = self.claims.clone();
        claims.outcome = outcome;
        export.clone_into(&mut claims.export);
        claims.result_digest = sealed.digest;
        claims.untrusted_finish = self.clock.now().into();
        let receipt = self
            .key
            .sign(&claims)
            .map_err(|error| Refusal::new("receipt-failed", error.to_string()))?;
        Ok(Signed {
            jwe: sealed.jwe,
            receipt,
        })
    }

    /// The document that goes out.
    pub(super) fn document(&self, signed: Signed) -> Result<String, Refusal> {
        ResultDocument::text_with(&signed.jwe, &signed.receipt, &self.attested.bundle)
            .map_err(|error| Refusal::new("result-failed", error.to_string()))
    }

    /// What the component published itself.
    pub(super) fn take(&self) -> Option<Signed> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ResultSink for SealedSink {
    fn publish(&self, content: &[u8], media_type: &str) -> Result<PublishedReceipt, PublishError> {
        let other = |error: &dyn std::fmt::Display| PublishError::Other(error.to_string());
        let sealed = seal(content, media_type, &self.recipients).map_err(|error| other(&error))?;
        let digest = sealed.digest.to_string();
        let signed = self
            .sign(RunOutcome::Completed, &self.claims.export, sealed)
            .map_err(|error| other(&error))?;
        let jws = Some(signed.receipt.clone());
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(signed);
        Ok(PublishedReceipt { jws, digest })
    }

    fn recipients(&self) -> Vec<String> {
        self.recipients.iter().map(PublicKey::thumbprint).collect()
    }
}
