//! What leaves after an encrypted task: a sealed document, and codes.

use std::sync::Arc;

use proplet_audit::{Event, TaskLog};
use proplet_jose::{jwe::Jwe, jwk::PublicKey};
use proplet_results::{ReceiptKey, ResultDocument, Sealed, failure::Failure, receipt::RunOutcome};
use proplet_runtime::RuntimeError;
use proplet_types::{Clock, Code};

use super::receipt::{Draft, Ending};
use crate::{host_text, identity::Attested, outcome::TaskOutcome, refusal::Refusal};

/// Seals and signs what a task gives, or why it gave nothing.
pub(super) struct Sealer {
    pub recipients: Vec<PublicKey>,
    pub key: Arc<ReceiptKey>,
    pub clock: Arc<dyn Clock>,
    pub record: TaskLog,
    pub attested: Attested,
    pub draft: Draft,
}

/// A sealed result with its receipt.
pub(super) struct Signed {
    pub jwe: Jwe,
    pub receipt: String,
}

/// Bytes of standard error that go into a failure document. All of it could make the document too large
/// for the broker, and then its owner would learn nothing.
const STDERR_TAIL: usize = 64 * 1024;

impl Sealer {
    /// Signs for a sealed result or failure.
    pub(super) fn sign(
        &self,
        outcome: RunOutcome,
        export: &str,
        sealed: Sealed,
    ) -> Result<Signed, Refusal> {
        let sequence = self.key.next_sequence();
        // Before the receipt, which names the head that the task's chain has with it.
        let audit_head = self.record.record(Event::Result {
            digest: sealed.digest,
            sequence,
            completed: outcome == RunOutcome::Completed,
        });
        let receipt = self.draft.complete(Ending {
            audit_head,
            sequence,
            outcome,
            export,
            result_digest: sealed.digest,
            finished: self.clock.now(),
        });
        let receipt = self.key.sign(&receipt).map_err(|_| {
            Refusal::new(
                Code::ReceiptFailed,
                "the receipt of the task cannot be signed",
            )
        })?;
        Ok(Signed {
            jwe: sealed.jwe,
            receipt,
        })
    }

    /// The document that goes out.
    pub(super) fn document(&self, signed: &Signed) -> Result<String, Refusal> {
        ResultDocument::text_with(&signed.jwe, &signed.receipt, &self.attested.bundle)
            .map_err(|_| not_made("the result document cannot be written"))
    }

    /// A failure: the host's words in clear, the component's own sealed.
    pub(super) fn failure(&self, export: &str, error: &RuntimeError, stderr: &[u8]) -> TaskOutcome {
        let failure = Failure {
            error: error.full_text().as_str().to_owned(),
            stderr: String::from_utf8_lossy(tail(stderr)).into_owned(),
        };
        let document = failure
            .seal(&self.recipients)
            .map_err(|_| not_made("the failure cannot be sealed to its recipients"))
            .and_then(|sealed| self.sign(RunOutcome::Failed, export, sealed))
            .and_then(|signed| self.document(&signed));
        match document {
            Ok(results) => TaskOutcome {
                results,
                error: Some(
                    Refusal::new(
                        error.code(),
                        host_text!(
                            "{}; what the component said is sealed in the result",
                            *error
                        ),
                    )
                    .into(),
                ),
                usage: None,
            },
            Err(_) => TaskOutcome::failed(Refusal::from(error)),
        }
    }
}

pub(super) fn not_made(words: &'static str) -> Refusal {
    Refusal::new(Code::ResultFailed, words)
}

/// The end, which is where a program says why it failed.
fn tail(stderr: &[u8]) -> &[u8] {
    stderr
        .get(stderr.len().saturating_sub(STDERR_TAIL)..)
        .unwrap_or(stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_standard_error_is_kept() {
        assert_eq!(tail(b"short"), b"short");
        let long = [vec![b'a'; 10], vec![b'b'; STDERR_TAIL]].concat();
        assert_eq!(tail(&long), vec![b'b'; STDERR_TAIL]);
    }
}
