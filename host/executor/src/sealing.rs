//! What leaves after an encrypted task: a sealed document, and codes.

use proplet_results::{failure::Failure, receipt::RunOutcome, seal};
use proplet_runtime::{Outcome, RuntimeError};

use super::{TaskOutcome, runtime_refusal, sink::SealedSink};
use crate::refusal::Refusal;

/// Seals what a run gave.
pub(super) fn finish(run: &Outcome, sink: &SealedSink) -> TaskOutcome {
    let mut outcome = match &run.value {
        Err(error) => failure(sink, &run.export, error, &run.stderr),
        Ok(_) => success(run, sink).unwrap_or_else(TaskOutcome::failed),
    };
    outcome.usage = Some(run.usage);
    outcome
}

fn success(run: &Outcome, sink: &SealedSink) -> Result<TaskOutcome, Refusal> {
    let signed = match sink.take().filter(|_| run.published) {
        Some(published) => published,
        None => {
            let (content, media_type) = run.content().ok_or_else(|| {
                Refusal::new("host-failed", "the component ended well without a value")
            })?;
            let sealed = seal(&content, media_type, &sink.recipients)
                .map_err(|error| Refusal::new("result-failed", error.to_string()))?;
            sink.sign(RunOutcome::Completed, &run.export, sealed)?
        }
    };
    Ok(TaskOutcome {
        results: sink.document(signed)?,
        error: None,
        usage: None,
    })
}

/// Bytes of standard error that go into a failure document. All of it could make the document too large
/// for the broker, and then its owner would learn nothing.
const STDERR_TAIL: usize = 64 * 1024;

/// The end, which is where a program says why it failed.
fn tail(stderr: &[u8]) -> &[u8] {
    stderr
        .get(stderr.len().saturating_sub(STDERR_TAIL)..)
        .unwrap_or(stderr)
}

/// A failure: the host's words in clear, the component's own sealed.
pub(super) fn failure(
    sink: &SealedSink,
    export: &str,
    error: &RuntimeError,
    stderr: &[u8],
) -> TaskOutcome {
    let failure = Failure {
        error: error.full_text().as_str().to_owned(),
        stderr: String::from_utf8_lossy(tail(stderr)).into_owned(),
    };
    let document = failure
        .seal(&sink.recipients)
        .map_err(|error| Refusal::new("result-failed", error.to_string()))
        .and_then(|sealed| sink.sign(RunOutcome::Failed, export, sealed))
        .and_then(|signed| sink.document(signed));
    let refusal = runtime_refusal(error);
    match document {
        Ok(document) => TaskOutcome {
            results: document,
            error: Some(Refusal::new(
                refusal.code(),
                format!(
                    "{}; what the component said is sealed in the result",
                    refusal.words()
                ),
            )),
            usage: None,
        },
        Err(_) => TaskOutcome::failed(refusal),
    }
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
