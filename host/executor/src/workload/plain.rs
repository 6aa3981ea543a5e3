//! Plain components: upstream's contract, in this process and under limits.
//!
//! A policy inside a plain component is ignored, because anybody can write one.

use std::sync::Arc;

use proplet_component::Component;
use proplet_runtime::Owner;
use proplet_types::{Code, Digest};
use tracing::info;

use super::{Road, Workload};
use crate::{process::Process, refusal::Refusal};

impl Process {
    /// A component that came inside the request.
    pub(super) async fn plain_file(&self, bytes: Vec<u8>) -> Result<Arc<Workload>, Refusal> {
        // Hashing and reading take longer than a scheduler's thread may be kept.
        let component = tokio::task::spawn_blocking(move || Component::of(bytes));
        let component = component
            .await
            .map_err(|_| Refusal::new(Code::HostFailed, "the component could not be read"))?;
        Ok(self.plain(component, None).await)
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
            return self.plain_file(bytes).await;
        }
        if let Some(proxy) = self.sources.proxy_for(image)? {
            let bytes = proxy.component(image).await?;
            return self.plain_file(bytes).await;
        }
        let reference = self.sources.reference(image)?;
        let manifest = self.sources.puller.resolve(&reference).await?;
        let wasm = self.sources.puller.pull_plain(&manifest).await?;
        info!("Pulled plain image {reference} ({})", wasm.image_digest);
        Ok(self.plain(wasm.component, Some(wasm.image_digest)).await)
    }

    async fn plain(&self, component: Component, image_digest: Option<Digest>) -> Arc<Workload> {
        Arc::new(Workload {
            component_digest: component.digest(),
            image_digest,
            limits: self.settings.limits.task.clone(),
            code: self
                .runtime
                .compile(Arc::new(component), &Owner::Anybody)
                .await,
            road: Road::Plain,
        })
    }
}
