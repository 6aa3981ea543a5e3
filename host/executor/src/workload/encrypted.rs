//! Encrypted components.
//!
//! In this order, and a step is not begun before the one above it is done: may this machine at all; which
//! image is it, and is it allowed; who holds its key, and is that the key broker of the settings; is the key
//! released; is the plaintext what was encrypted; which policy counts; who may read the result. Nothing of
//! the component is instantiated before all of that, and whether it imports only what it is granted.
//!
//! A policy counts only when the layer key was wrapped with A256GCM: that mode is authenticated, so
//! whoever made the image knew the key. Under A256CTR anybody who can change the image can choose the
//! layer key, and so the component and its policy.

use std::sync::Arc;

use proplet_component::{EmbeddedPolicy, policy::PolicyError};
use proplet_image::{ImageReference, Manifest, NamedKbs, PullPolicy, Wasm, WrapType};
use proplet_kbs::protocol;
use proplet_net::names::{self, Asker};
use proplet_runtime::Owner;
use proplet_types::{Code, Digest, KbsHost, ResourceUri};
use tracing::info;

use super::{Release, Road, Workload, recipients};
use crate::{
    ledger::Ledger,
    process::{Confidential, Given, ImageKeys, NewImage, Process, Reach},
    refusal::Refusal,
};

impl Process {
    /// An encrypted image, ready from an earlier task or opened now.
    pub(super) async fn encrypted_image(
        &self,
        confidential: &Confidential,
        image: &str,
        expected_key: Option<ResourceUri>,
        ledger: &Ledger,
    ) -> Result<Arc<Workload>, Refusal> {
        let asker = match confidential.owners.of(image) {
            Some(repository) => Asker::Named(repository),
            None => Asker::Unknown,
        };
        let opened = self.opened(confidential, image, expected_key, ledger);
        let workload = names::on_behalf_of(asker, opened).await?;
        if let Road::Encrypted(release) = &workload.road {
            confidential
                .owners
                .remember(image, release.kid.repository());
        }
        Ok(workload)
    }

    async fn opened(
        &self,
        confidential: &Confidential,
        image: &str,
        expected_key: Option<ResourceUri>,
        ledger: &Ledger,
    ) -> Result<Arc<Workload>, Refusal> {
        confidential.pass(&self.settings).await?;
        let reference: ImageReference = self.sources.reference(image)?;
        let allowed = self.pull_policy(expected_key);
        let warm = |digest: Digest| confidential.warm.find(digest, |kid| allowed.admits(kid));
        if let Some(ready) = reference.digest().and_then(warm) {
            return Ok(ready);
        }
        let loading = confidential.warm.loading(&reference.to_string());
        let _one_at_a_time = loading.lock().await;
        let manifest = self.sources.puller.resolve(&reference).await?;
        if let Some(ready) = warm(manifest.digest) {
            return Ok(ready);
        }
        let owner = confidential.owners.of(image);
        self.open(confidential, manifest, owner, &allowed, ledger)
            .await
    }

    /// The cold start: key, plaintext, policy, recipients, code.
    async fn open(
        &self,
        confidential: &Confidential,
        manifest: Manifest,
        owner_before: Option<Arc<str>>,
        allowed: &PullPolicy,
        ledger: &Ledger,
    ) -> Result<Arc<Workload>, Refusal> {
        let host = &confidential.host;
        let image = protocol::Requester {
            image_digest: Some(manifest.digest),
            ..protocol::Requester::default()
        };
        let new = NewImage {
            requester: image.clone(),
            owner: owner_before,
        };
        let keys = ImageKeys::new(&host.vault, Some(new), ledger.clone());
        let puller = &self.sources.puller;
        let wasm = puller.pull_encrypted(&manifest, &keys, allowed).await?;
        let unreleased = || {
            Refusal::new(
                Code::ImageNotEncrypted,
                "the image was opened without a released key",
            )
        };
        let (session, key_digest) = keys.released().ok_or_else(unreleased)?;
        let kid = wasm.key_id.clone().ok_or_else(unreleased)?;
        let digest = wasm.component.digest();
        info!("Opened encrypted image {} ({digest})", manifest.digest);

        let InForce { policy, readable } = InForce::of(&wasm)?;
        let in_force = policy.as_ref().map(|embedded| &*embedded.policy);
        let told = protocol::Requester {
            component_digest: Some(digest),
            policy_digest: policy.as_ref().map(|embedded| embedded.digest),
            ..image.clone()
        };
        let reach = Reach {
            vault: Arc::clone(&host.vault),
            repository: kid.repository().to_owned(),
            component: told.clone(),
            key_types: self.settings.confidential.image_key_types.clone(),
            ledger: ledger.clone(),
            given: Given::default(),
        };
        let recipients = recipients::of(in_force, &self.settings, &reach).await?;
        let limits = &self.settings.limits.task;
        let limits = in_force.map_or_else(
            || limits.clone(),
            |policy| limits.lowered_by(&policy.limits),
        );
        let component = Arc::new(wasm.component);
        let code = self.runtime.compile(component, &owner(&kid)).await;
        if code.is_ok() && !readable {
            self.runtime.forget(&digest);
            return Err(unusable_policy());
        }
        let workload = Arc::new(Workload {
            component_digest: digest,
            image_digest: Some(wasm.image_digest),
            limits,
            code,
            road: Road::Encrypted(Box::new(Release {
                host: Arc::clone(host),
                kid,
                session,
                key_digest,
                image,
                component: told,
                index_digest: manifest.index_digest,
                policy,
                recipients,
                recipients_from: reach.given,
            })),
        });
        for digest in confidential.warm.keep(wasm.image_digest, &workload) {
            self.runtime.forget(&digest);
        }
        Ok(workload)
    }

    /// Which key broker a key id may name: the one of the settings.
    /// What an image's key must be before it is asked for.
    pub(crate) fn pull_policy(&self, expected_key: Option<ResourceUri>) -> PullPolicy {
        PullPolicy {
            allow_a256ctr: self.settings.confidential.allow_a256ctr,
            expected_key,
            kbs: self.named_kbs(),
            key_types: Some(self.settings.confidential.image_key_types.clone()),
        }
    }

    fn named_kbs(&self) -> NamedKbs {
        let kbs = self.settings.kbs.as_ref();
        kbs.and_then(|kbs| KbsHost::of(&kbs.url))
            .map_or(NamedKbs::Unconfigured, NamedKbs::Configured)
    }
}

/// Who is held up by what this key's components take to compile: whoever has its repository, as everywhere else.
fn owner(kid: &ResourceUri) -> Owner {
    Owner::Named(kid.repository().into())
}

/// What a component's own policy comes to.
struct InForce {
    /// The policy, when it counts.
    policy: Option<EmbeddedPolicy>,
    /// Whether the policy's reader understands the component at all. The engine has a parser of its own: if
    /// that one takes what this one does not, a policy would be passed over.
    readable: bool,
}

impl InForce {
    fn of(wasm: &Wasm) -> Result<Self, Refusal> {
        let counts = wasm.wrap == Some(WrapType::A256Gcm) && wasm.key_id.is_some();
        let (policy, readable) = match wasm.component.policy() {
            // Not WebAssembly at all: the engine says so in better words.
            Err(PolicyError::NotWasm(_)) => (None, false),
            _ if !counts => (None, true),
            Ok(policy) => (policy.cloned(), true),
            Err(_) => return Err(unusable_policy()),
        };
        Ok(Self { policy, readable })
    }
}

/// The parser's words may quote the owner's policy, so they stay here.
fn unusable_policy() -> Refusal {
    Refusal::new(
        Code::PolicyInvalid,
        "the component's policy section cannot be used; build and encrypt it again with a valid policy",
    )
}

#[cfg(test)]
mod tests {
    use proplet_component::{Component, Policy};

    use super::*;

    #[test]
    fn an_owner_is_a_repository() {
        let of = |kid: &str| owner(&kid.parse().unwrap());
        assert_eq!(of("kbs:///mine/key/a"), of("kbs://host/mine/key/b"));
        assert_ne!(of("kbs:///mine/key/a"), of("kbs:///yours/key/a"));
        assert_ne!(of("kbs:///mine/key/a"), Owner::Anybody);
    }

    fn wasm(wrap: WrapType, bytes: Vec<u8>) -> Wasm {
        Wasm {
            component: Component::of(bytes),
            image_digest: Digest::of(b"the manifest"),
            key_id: Some("kbs:///default/key/a".parse().unwrap()),
            wrap: Some(wrap),
        }
    }

    #[test]
    fn a_policy_counts_only_under_an_authenticated_key() {
        let module = b"\0asm\x01\0\0\0";
        let bytes = Policy::embed(module, b"version = 1").unwrap();
        assert!(
            InForce::of(&wasm(WrapType::A256Gcm, bytes.clone()))
                .unwrap()
                .policy
                .is_some()
        );
        assert!(
            InForce::of(&wasm(WrapType::A256Ctr, bytes))
                .unwrap()
                .policy
                .is_none()
        );
        assert!(
            InForce::of(&wasm(WrapType::A256Gcm, module.to_vec()))
                .unwrap()
                .policy
                .is_none()
        );
    }

    #[test]
    fn what_the_reader_does_not_understand_is_remembered() {
        for wrap in [WrapType::A256Gcm, WrapType::A256Ctr] {
            let module = b"\0asm\x01\0\0\0".to_vec();
            assert!(InForce::of(&wasm(wrap, module)).unwrap().readable);
            let broken = b"\0asm\x01\0\0\0\xff".to_vec();
            let embedded = InForce::of(&wasm(wrap, broken)).unwrap();
            assert!(embedded.policy.is_none() && !embedded.readable);
        }
    }
}
