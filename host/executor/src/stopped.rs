//! What a stopped task ends with.

use proplet_runtime::{CancelToken, RuntimeError};

use crate::refusal::Refusal;

/// Ends with the work, or with the refusal of a stopped task.
pub(crate) async fn unless_stopped<T>(
    cancel: &CancelToken,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Refusal::from(&RuntimeError::Stopped)),
        done = work => done,
    }
}
