//! Somebody else who fetches the images of plain tasks.

use async_trait::async_trait;

use crate::refusal::Refusal;

/// Fetches plain components by the name of their image. Nothing vouches for what comes, as for a component at an
/// address: so no encrypted task ever asks here.
#[async_trait]
pub trait ImageProxy: Send + Sync {
    /// The bytes of the component in an image, by its name in the task.
    ///
    /// # Errors
    /// The refusal of the task.
    async fn component(&self, image: &str) -> Result<Vec<u8>, Refusal>;
}
