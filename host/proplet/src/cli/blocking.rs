//! Work that must not hold up the threads of the runtime.

use proplet_types::Code;

use super::error::CliError;

/// Runs what takes long, or waits for a disk, on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(CliError::new(
            Code::Internal,
            format!("a thread failed: {error}"),
        )),
    }
}
