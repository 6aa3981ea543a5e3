//! Plain tasks: upstream's contract, in this process and under limits.
//!
//! A policy inside a plain component is ignored, because anybody can write one; `secrets` and `reveal`
//! are not linked. Identity and evidence are there when there is a TEE: they say what runs, and give
//! nothing away.

use std::sync::Arc;

use proplet_results::Digest;
use proplet_runtime::{CancelToken, Grants, Outcome, RuntimeError, Services, TaskSpec};
use tracing::info;
use zeroize::Zeroizing;

use super::{
    Inner, TaskOutcome, identity::Identity, image_refusal, inputs, reference, secrets::NoSecrets,
    sink::PlainSink, unless_stopped,
};
use crate::{refusal::Refusal, request::Request};

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
        start: Request,
        bytes: Vec<u8>,
        cancel: CancelToken,
    ) -> TaskOutcome {
        self.run_component(start, in_memory(bytes), cancel).await
    }

    /// Runs a plain image, or a component at an address.
    pub(super) async fn run_plain(
        &self,
        start: Request,
        image: String,
        cancel: CancelToken,
    ) -> TaskOutcome {
        match unless_stopped(&cancel, self.fetch_plain(&image)).await {
            Ok(component) => self.run_component(start, component, cancel).await,
            Err(refusal) => TaskOutcome::failed(refusal),
        }
    }

    async fn fetch_plain(&self, image: &str) -> Result<Component, Refusal> {
        // A scheme has no upper and lower case (RFC 3986).
        let is_address = ["http://", "https://"].iter().any(|scheme| {
            let start = image.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if is_address {
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
        start: Request,
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

/// How much of a failed component's standard error is repeated, in characters from its end.
const MAX_STDERR: usize = 2000;

fn outcome(run: Outcome, sink: &PlainSink) -> TaskOutcome {
    let usage = Some(run.usage);
    let (results, error) = match &run.value {
        Err(error) => (String::new(), Some(failure(error, &run.stderr))),
        Ok(_) if run.published => (sink.take().unwrap_or_default(), None),
        Ok(_) => {
            let text = run.plain_text().map(|text| text.as_str().to_owned());
            (text.unwrap_or_default(), None)
        }
    };
    TaskOutcome {
        results,
        error,
        usage,
    }
}

/// A plain component has no secrets, so its own words are shown.
fn failure(error: &RuntimeError, stderr: &[u8]) -> Refusal {
    let mut words = error.full_text().as_str().to_owned();
    let stderr = String::from_utf8_lossy(stderr);
    let stderr = stderr.trim();
    if !stderr.is_empty() {
        let skipped = stderr.chars().count().saturating_sub(MAX_STDERR);
        words.push_str("; standard error: ");
        words.extend(stderr.chars().skip(skipped));
    }
    Refusal::new(error.code(), words)
}

#[cfg(test)]
mod tests {
    use proplet_runtime::GuestText;

    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_standard_error() {
        let failed = RuntimeError::GuestFailed {
            exit_code: Some(1),
            text: GuestText::new("exit status 1"),
        };
        let stderr = format!("{}the reason\n", "x".repeat(10_000));
        let refusal = failure(&failed, stderr.as_bytes());
        assert_eq!(refusal.code(), "guest-failed");
        assert!(refusal.words().ends_with("xthe reason"), "{refusal}");
        assert!(refusal.words().contains("exit status 1"), "{refusal}");
        assert!(refusal.words().len() < 2200);
        assert!(!failure(&failed, b" \n").words().contains("standard error"));
    }
}
