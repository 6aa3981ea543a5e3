//! Plain components: upstream's contract, in this process and under limits.
//!
//! A policy inside a plain component is ignored, because anybody can write one.

use std::sync::Arc;

use proplet_results::Digest;
use tracing::info;
use zeroize::Zeroizing;

use super::{Road, Workload, component_digest};
use crate::{process::Process, refusal::Refusal};

impl Process {
    /// A component that came inside the request.
    pub(super) async fn plain_file(&self, bytes: Vec<u8>) -> Arc<Workload> {
        let bytes = Zeroizing::new(bytes);
        let digest = Digest::of(&bytes);
        self.plain(bytes, digest, None).await
    }

    /// A plain image, or a component at an address.
    pub(super) async fn plain_image(&self, image: &str) -> Result<Arc<Workload>, Refusal> {
        // A scheme has no upper and lower case (RFC 3986).
        let is_address = ["http://", "https://"].iter().any(|scheme| {
            let start = image.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if is_address {
            let bytes = self.sources.fetch(image).await?;
            return Ok(self.plain_file(bytes).await);
        }
        let reference = self.sources.reference(image)?;
        let manifest = self.sources.puller.resolve(&reference).await?;
        let wasm = self.sources.puller.pull_plain(&manifest).await?;
        info!("Pulled plain image {reference} ({})", wasm.image_digest);
        let digest = component_digest(&wasm)?;
        let image_digest = wasm.image_digest.parse().ok();
        Ok(self.plain(wasm.bytes, digest, image_digest).await)
    }

    async fn plain(
        &self,
        bytes: Zeroizing<Vec<u8>>,
        digest: Digest,
        image_digest: Option<Digest>,
    ) -> Arc<Workload> {
        let code = self
            .runtime
            .compile(Arc::new(bytes), &digest.to_string())
            .await;
        Arc::new(Workload {
            component_digest: digest,
            image_digest,
            limits: self.settings.limits.task.clone(),
            code,
            road: Road::Plain,
        })
    }
}
