//! Plain tasks: upstream's contract, in this process and under limits.
//!
//! A policy inside a plain component is ignored, because anybody can write one; `secrets` and `reveal`
//! are not linked. Identity and evidence are there when there is a TEE: they say what runs, and give
//! nothing away.

use std::sync::Arc;

use proplet_results::Digest;
use proplet_runtime::{CancelToken, Grants, Outcome, Services, TaskSpec};
use tracing::info;
use zeroize::Zeroizing;

use super::{
    Inner, TaskOutcome, identity::Identity, image_refusal, inputs, reference, runtime_refusal,
    secrets::NoSecrets, sink::PlainSink, unless_stopped,
};
use crate::{message::Start, refusal::Refusal};

/// A plain component in memory.
struct Component {
    bytes: Zeroizing<Vec<u8>>,
    digest: Digest,
    image_digest: Option<Digest>,
}

impl Inner {
    /// Runs a component that came inside the start message.
    pub(super) async fn run_file(
        &self,
        start: Start,
        bytes: Vec<u8>,
        cancel: CancelToken,
    ) -> TaskOutcome {
        self.run_component(start, in_memory(bytes), cancel).await
    }

    /// Runs a plain image, or a component at an address.
    pub(super) async fn run_plain(
        &self,
        start: Start,
        image: String,
        cancel: CancelToken,
    ) -> TaskOutcome {
        match unless_stopped(&cancel, self.fetch_plain(&image)).await {
            Ok(component) => self.run_component(start, component, cancel).await,
            Err(refusal) => TaskOutcome::failed(refusal),
        }
    }

    async fn fetch_plain(&self, image: &str) -> Result<Component, Refusal> {
        if image.starts_with("http://") || image.starts_with("https://") {
            let bytes = self
                .fetcher
                .fetch(image, &self.settings.registry.allowed)
                .await?;
            return Ok(in_memory(bytes));
        }
        let reference = reference(&self.settings, image)?;
        let manifest = self
            .puller
            .resolve(&reference)
            .await
            .map_err(|error| image_refusal(&error))?;
        let wasm = self
            .puller
            .pull_plain(&manifest)
            .await
            .map_err(|error| image_refusal(&error))?;
        info!("Pulled plain image {reference} ({})", wasm.image_digest);
        Ok(Component {
            digest: Digest::of(&wasm.bytes),
            image_digest: wasm.image_digest.parse().ok(),
            bytes: wasm.bytes,
        })
    }

    async fn run_component(
        &self,
        start: Start,
        component: Component,
        cancel: CancelToken,
    ) -> TaskOutcome {
        let Component {
            bytes,
            digest,
            image_digest,
        } = component;
        let compile = async {
            self.runtime
                .compile(Arc::new(bytes), digest.as_str())
                .await
                // The component is not confidential, so its owner's words may be shown.
                .map_err(|error| Refusal::new(error.code(), error.full_text().as_str()))
        };
        let compiled = match unless_stopped(&cancel, compile).await {
            Ok(compiled) => compiled,
            Err(refusal) => return TaskOutcome::failed(refusal),
        };
        let sink = Arc::new(PlainSink::default());
        let services = Services {
            attestation: Arc::new(Identity {
                provider: self.provider.clone(),
                tee: self
                    .provider
                    .as_ref()
                    .map(|provider| provider.tee().to_string()),
                receipt_key: Arc::clone(&self.receipt_key),
                settings_digest: self.settings_digest.clone(),
                component_digest: digest,
                image_digest,
                policy_digest: None,
                task_id: start.id.clone(),
            }),
            secrets: Arc::new(NoSecrets),
            results: Arc::clone(&sink) as _,
        };
        let mut env = start.env.clone();
        if let Ok(identity) = self.settings.identity() {
            // Upstream's guests look for it.
            env.entry("PROPLET_ID".to_owned())
                .or_insert(identity.entity);
        }
        let spec = TaskSpec {
            task_id: start.id.clone(),
            name: start.name.clone(),
            invoke: start.invoke.clone(),
            inputs: inputs(&start),
            env,
            limits: self.settings.limits.task.clone(),
            grants: Grants::plain(),
            cancel,
        };
        outcome(self.runtime.run(&compiled, spec, services).await, &sink)
    }
}

fn in_memory(bytes: Vec<u8>) -> Component {
    let bytes = Zeroizing::new(bytes);
    Component {
        digest: Digest::of(&bytes),
        image_digest: None,
        bytes,
    }
}

fn outcome(run: Outcome, sink: &PlainSink) -> TaskOutcome {
    let usage = Some(run.usage);
    let text = match run.plain_text() {
        Some(text) if !run.published => text.as_str().to_owned(),
        Some(_) => sink.take().unwrap_or_default(),
        None => {
            let refusal = run.value.as_ref().err().map(|error| {
                let mut words = error.full_text().as_str().to_owned();
                let stderr = String::from_utf8_lossy(&run.stderr);
                if !stderr.trim().is_empty() {
                    words.push_str("; standard error: ");
                    words.push_str(stderr.trim());
                }
                Refusal::new(error.code(), words)
            });
            let error =
                refusal.or_else(|| Some(runtime_refusal(&proplet_runtime::RuntimeError::Stopped)));
            return TaskOutcome {
                results: String::new(),
                error,
                usage,
            };
        }
    };
    TaskOutcome {
        results: text,
        error: None,
        usage,
    }
}
