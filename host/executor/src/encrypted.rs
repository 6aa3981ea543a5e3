//! Encrypted tasks.
//!
//! In this order, and a step is not begun before the one above it is done: may this machine at all
//! ([`super::gate`]); which image is it, and is it allowed; who holds its key, and is that the key broker
//! of the settings; is the key released; is the plaintext what was encrypted; which policy counts; who
//! may read the result; does the component import only what it is granted. Nothing of the component is
//! instantiated before all of that.
//!
//! A policy counts only when the layer key was wrapped with A256GCM: that mode is authenticated, so
//! whoever made the image knew the key. Under A256CTR anybody who can change the image can choose the
//! layer key, and so the component and its policy.

use std::sync::{Arc, Mutex};

use proplet_hal::TeeProvider;
use proplet_image::{ImageReference, Manifest, PullPolicy, Wasm, WrapType};
use proplet_jose::jwk::PublicKey;
use proplet_kbs::{ResourceUri, SessionId};
use proplet_results::{
    Digest, ReceiptClaims,
    digest::{of_arguments, of_environment, of_inputs},
    receipt::RunOutcome,
};
use proplet_runtime::{
    CancelToken, Grants, Limits, RuntimeError, SecretSource, Services, TaskSpec,
    policy::{Policy, PolicyError},
};
use tracing::info;

use super::{
    Inner, TaskOutcome,
    identity::{Attested, Identity},
    image_refusal, inputs, named_limits, recipients, reference,
    sealing::{failure, finish},
    secrets::{NoSecrets, Secrets},
    sink::SealedSink,
    unless_stopped,
    vault::{ImageKeys, Vault},
    warm::Ready,
};
use crate::{refusal::Refusal, request::Request};

impl Inner {
    /// Runs an encrypted task.
    pub(super) async fn run_encrypted(
        self: &Arc<Self>,
        start: Request,
        image: String,
        kbs_resource_path: Option<String>,
        cancel: CancelToken,
    ) -> TaskOutcome {
        let prepare = self.prepare(&start, &image, kbs_resource_path);
        match unless_stopped(&cancel, prepare).await {
            Ok(Prepared::Ready { ready, sink }) => self.run_ready(start, ready, sink, cancel).await,
            Ok(Prepared::Broken { sink, error }) => failure(&sink, "", &error, &[]),
            Err(refusal) => TaskOutcome::failed(refusal),
        }
    }

    /// Everything before the component is instantiated.
    async fn prepare(
        self: &Arc<Self>,
        start: &Request,
        image: &str,
        kbs_resource_path: Option<String>,
    ) -> Result<Prepared, Refusal> {
        let started = self.clock.now();
        let provider = self.gate.pass().await?;
        let vault = self.vault.as_ref().ok_or_else(|| {
            Refusal::new(
                "kbs-not-configured",
                "there is no key broker; set [kbs] url",
            )
        })?;
        let reference = reference(&self.settings, image)?;
        let found = self
            .find_or_open(vault, &reference, kbs_resource_path)
            .await?;
        let (component, session) = match &found {
            Found::Ready(ready) => {
                let limits = self.limits(ready.policy.as_ref());
                (Identified::of(ready, limits), ready.session)
            }
            Found::Broken {
                component, session, ..
            } => (component.as_ref().clone(), *session),
        };
        let attested = self
            .instance
            .attest(
                session,
                provider.as_ref(),
                &self.receipt_key,
                &self.settings_digest,
            )
            .await?;
        let claims = self.receipt_claims(
            start,
            &component,
            provider.as_ref(),
            &attested,
            started.into(),
        )?;
        let sink = Box::new(SealedSink {
            recipients: component.recipients,
            key: Arc::clone(&self.receipt_key),
            clock: Arc::clone(&self.clock),
            attested,
            claims,
            published: Mutex::default(),
        });
        Ok(match found {
            Found::Ready(ready) => Prepared::Ready { ready, sink },
            Found::Broken { error, .. } => Prepared::Broken { sink, error },
        })
    }

    async fn find_or_open(
        self: &Arc<Self>,
        vault: &Vault,
        reference: &ImageReference,
        kbs_resource_path: Option<String>,
    ) -> Result<Found, Refusal> {
        let expected = |kid: &ResourceUri| is_expected(kid, kbs_resource_path.as_deref());
        let warm = |digest: String| self.warm.find(&digest, vault.live_session(), expected);
        if let Some(ready) = reference
            .digest()
            .and_then(|digest| warm(digest.to_string()))
        {
            return Ok(Found::Ready(ready));
        }
        let loading = self.warm.loading(&reference.to_string());
        let _one_at_a_time = loading.lock().await;
        let manifest = self
            .puller
            .resolve(reference)
            .await
            .map_err(|error| image_refusal(&error))?;
        if let Some(ready) = warm(manifest.digest.to_string()) {
            return Ok(Found::Ready(ready));
        }
        self.open(vault, manifest, kbs_resource_path).await
    }

    /// The cold start: key, plaintext, policy, recipients, code.
    async fn open(
        self: &Arc<Self>,
        vault: &Vault,
        manifest: Manifest,
        expected_kid_path: Option<String>,
    ) -> Result<Found, Refusal> {
        let keys = ImageKeys::new(vault);
        let policy = PullPolicy {
            allow_a256ctr: self.settings.confidential.allow_a256ctr,
            expected_kid_path,
            kbs_host: self.kbs_host(&manifest),
            key_types: Some(self.settings.confidential.image_key_types.clone()),
        };
        let wasm = self
            .puller
            .pull_encrypted(&manifest, &keys, &policy)
            .await
            .map_err(|error| image_refusal(&error))?;
        let unreleased = || {
            Refusal::new(
                "image-not-encrypted",
                "the image was opened without a released key",
            )
        };
        let session = keys.session().ok_or_else(unreleased)?;
        let kid = wasm.key_id.clone().ok_or_else(unreleased)?;
        info!(
            "Opened encrypted image {} ({})",
            manifest.digest, wasm.component_digest
        );

        let policy = policy_in_force(&wasm)?;
        let recipients = recipients::of(
            policy.as_ref().map(|(policy, _)| policy),
            kid.repository(),
            &self.settings,
            vault,
        )
        .await?;
        let image_digest = wasm
            .image_digest
            .parse()
            .map_err(|_| Refusal::new("host-failed", "the image has no digest"))?;
        let component = Identified {
            component_digest: Digest::of(&wasm.bytes),
            image_digest,
            policy_digest: policy.as_ref().map(|(_, digest)| digest.clone()),
            limits: self.limits(policy.as_ref()),
            recipients,
        };
        let digest = component.component_digest.clone();
        let readable = is_readable(&wasm);
        let compiled = match self
            .runtime
            .compile(Arc::new(wasm.bytes), digest.as_str())
            .await
        {
            Ok(compiled) => compiled,
            Err(error) => {
                return Ok(Found::Broken {
                    component: Box::new(component),
                    session,
                    error,
                });
            }
        };
        if !readable {
            return Err(unusable_policy());
        }
        let ready = Arc::new(Ready {
            image_digest: component.image_digest,
            index_digest: manifest.index_digest.map(|digest| digest.to_string()),
            kid,
            session,
            component_digest: component.component_digest,
            policy,
            recipients: component.recipients,
            compiled,
        });
        self.warm.keep(Arc::clone(&ready));
        Ok(Found::Ready(ready))
    }

    async fn run_ready(
        self: &Arc<Self>,
        start: Request,
        ready: Arc<Ready>,
        mut sink: Box<SealedSink>,
        cancel: CancelToken,
    ) -> TaskOutcome {
        let grants = match &ready.policy {
            Some((policy, _)) => Grants::from_policy(policy),
            None => Grants::plain(),
        };
        let secrets: Arc<dyn SecretSource> = match ready.policy {
            Some(_) => Arc::new(Secrets {
                inner: Arc::clone(self),
                repository: ready.kid.repository().to_owned(),
            }),
            None => Arc::new(NoSecrets),
        };
        let spec = TaskSpec {
            task_id: start.id.clone(),
            name: start.name.clone(),
            invoke: start.invoke.clone(),
            inputs: inputs(&start),
            env: start.env.clone(),
            limits: self.limits(ready.policy.as_ref()),
            grants,
            cancel,
        };
        // A component that publishes gets its receipt before it ends, so the receipt's export is chosen
        // here; without one the run ends before the component begins.
        sink.claims.export = ready.compiled.invoked_export(&spec).unwrap_or_default();
        let sink = Arc::new(*sink);
        let services = Services {
            attestation: Arc::new(Identity {
                provider: self.provider.clone(),
                tee: self
                    .provider
                    .as_ref()
                    .map(|provider| provider.tee().to_string()),
                receipt_key: Arc::clone(&self.receipt_key),
                settings_digest: self.settings_digest.clone(),
                component_digest: ready.component_digest.clone(),
                image_digest: Some(ready.image_digest.clone()),
                policy_digest: ready.policy.as_ref().map(|(_, digest)| digest.clone()),
                task_id: start.id.clone(),
            }),
            secrets,
            results: Arc::clone(&sink) as _,
        };
        let run = self.runtime.run(&ready.compiled, spec, services).await;
        finish(&run, &sink)
    }

    fn limits(&self, policy: Option<&(Policy, Digest)>) -> Limits {
        let limits = &self.settings.limits.task;
        policy.map_or_else(
            || limits.clone(),
            |(policy, _)| limits.lowered_by(&policy.limits),
        )
    }

    /// The name under which this image's key id may speak of our key broker: with its port or without.
    fn kbs_host(&self, manifest: &Manifest) -> Option<String> {
        let url = &self.settings.kbs.as_ref()?.url;
        let host = url.host_str()?.to_ascii_lowercase();
        let with_port = format!("{host}:{}", url.port_or_known_default()?);
        let named = manifest
            .encryption
            .as_ref()
            .and_then(|encryption| encryption.kid.host());
        Some(if named == Some(with_port.as_str()) {
            with_port
        } else {
            host
        })
    }

    fn receipt_claims(
        &self,
        start: &Request,
        component: &Identified,
        provider: &dyn TeeProvider,
        attested: &Attested,
        started: proplet_results::receipt::UntrustedTime,
    ) -> Result<ReceiptClaims, Refusal> {
        let failed = |error: proplet_jose::Error| Refusal::new("receipt-failed", error.to_string());
        Ok(ReceiptClaims {
            task_id: start.id.clone(),
            outcome: RunOutcome::Failed,
            component_digest: component.component_digest.clone(),
            image_digest: Some(component.image_digest.clone()),
            policy_digest: component.policy_digest.clone(),
            settings_digest: self.settings_digest.clone(),
            attester: provider.attester().to_owned(),
            export: String::new(),
            arguments_digest: of_arguments(&start.arguments).map_err(failed)?,
            environment_digest: of_environment(&start.env).map_err(failed)?,
            inputs_digest: of_inputs(&start.inputs).map_err(failed)?,
            result_digest: Digest::of(b""),
            recipients: component
                .recipients
                .iter()
                .map(PublicKey::thumbprint)
                .collect(),
            limits: named_limits(&component.limits),
            untrusted_start: started,
            untrusted_finish: started,
            audit_head: None,
            evidence_digest: attested.digest.clone(),
        })
    }
}

/// A task that is ready to be instantiated, or known not to compile.
enum Prepared {
    Ready {
        ready: Arc<Ready>,
        sink: Box<SealedSink>,
    },
    Broken {
        sink: Box<SealedSink>,
        error: RuntimeError,
    },
}

enum Found {
    Ready(Arc<Ready>),
    Broken {
        component: Box<Identified>,
        session: SessionId,
        error: RuntimeError,
    },
}

/// What a receipt says about a component, whether it compiles or not.
#[derive(Clone)]
struct Identified {
    component_digest: Digest,
    image_digest: Digest,
    policy_digest: Option<Digest>,
    limits: Limits,
    recipients: Vec<PublicKey>,
}

impl Identified {
    fn of(ready: &Ready, limits: Limits) -> Self {
        Self {
            component_digest: ready.component_digest.clone(),
            image_digest: ready.image_digest.clone(),
            policy_digest: ready.policy.as_ref().map(|(_, digest)| digest.clone()),
            limits,
            recipients: ready.recipients.clone(),
        }
    }
}

/// Whether this is the key that the task expects; any is when it expects none.
fn is_expected(kid: &ResourceUri, expected: Option<&str>) -> bool {
    expected.is_none_or(|expected| {
        let path = expected.strip_prefix("kbs://").unwrap_or(expected);
        path.strip_prefix('/').unwrap_or(path) == kid.path()
    })
}

/// The policy that counts for this component, with its digest.
fn policy_in_force(wasm: &Wasm) -> Result<Option<(Policy, Digest)>, Refusal> {
    if wasm.wrap != Some(WrapType::A256Gcm) || wasm.key_id.is_none() {
        return Ok(None);
    }
    match Policy::extract(&wasm.bytes) {
        Ok(None) => Ok(None),
        Ok(Some((policy, digest))) => Ok(Some((
            policy,
            digest.parse().map_err(|_| unusable_policy())?,
        ))),
        // Not WebAssembly at all: the engine says so in better words.
        Err(PolicyError::NotWasm(_)) => Ok(None),
        Err(_) => Err(unusable_policy()),
    }
}

/// Whether the policy's reader understands the component at all. The engine has a parser of its own: if
/// that one took what this one did not, a policy would have been passed over.
fn is_readable(wasm: &Wasm) -> bool {
    !matches!(Policy::extract(&wasm.bytes), Err(PolicyError::NotWasm(_)))
}

/// The parser's words may quote the owner's policy, so they stay here.
fn unusable_policy() -> Refusal {
    Refusal::new(
        "policy-invalid",
        "the component's policy section cannot be used; build and encrypt it again with a valid policy",
    )
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn the_expected_key_is_compared_by_path() {
        let kid: ResourceUri = "kbs:///default/key/a".parse().unwrap();
        for same in ["default/key/a", "/default/key/a", "kbs:///default/key/a"] {
            assert!(is_expected(&kid, Some(same)), "{same}");
        }
        assert!(is_expected(&kid, None));
        for other in [
            "default/key/b",
            "default/key/a/",
            "kbs://host/default/key/a",
            "",
        ] {
            assert!(!is_expected(&kid, Some(other)), "{other}");
        }
    }

    fn wasm(wrap: WrapType, bytes: Vec<u8>) -> Wasm {
        Wasm {
            bytes: Zeroizing::new(bytes),
            component_digest: String::new(),
            image_digest: String::new(),
            key_id: Some("kbs:///default/key/a".parse().unwrap()),
            wrap: Some(wrap),
        }
    }

    #[test]
    fn a_policy_counts_only_under_an_authenticated_key() {
        let module = b"\0asm\x01\0\0\0";
        let bytes = Policy::embed(module, b"version = 1").unwrap();
        assert!(
            policy_in_force(&wasm(WrapType::A256Gcm, bytes.clone()))
                .unwrap()
                .is_some()
        );
        assert!(
            policy_in_force(&wasm(WrapType::A256Ctr, bytes))
                .unwrap()
                .is_none()
        );
        assert!(
            policy_in_force(&wasm(WrapType::A256Gcm, module.to_vec()))
                .unwrap()
                .is_none()
        );
    }
}
