//! `propeller:confidential/secrets`: secrets that stay in the host.
//!
//! A component reaches what its own policy names and what the host's [`SecretSource`] for its task gives.
//! A `secret` handle stands for bytes in host memory, in the table of one task. They are wiped when the
//! handle is dropped and when the task ends, however it ends. Held secrets count towards the task's memory
//! limit, so a guest cannot make the host hold more for it than it could hold itself; and a task may ask a
//! limited number of times, so that it cannot keep the key broker busy.

use std::sync::Arc;

use async_trait::async_trait;
use bindings::propeller::confidential::secrets::{self, Host, HostSecret};
use proplet_component::policy::secret_uri;
use proplet_types::ResourceUri;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use zeroize::{Zeroize as _, Zeroizing};

pub use bindings::propeller::confidential::secrets::SecretError;

use super::trappable::{self, Trappable, WitError};
use super::{Grant, Interface, PerTask, Start};
use crate::grants::Grants;
use crate::limits::MemoryMeter;
use crate::state::TaskState;

/// Largest secret, in bytes.
pub(crate) const MAX_SECRET_BYTES: u64 = 1 << 20;

pub(crate) const INTERFACE: Interface = Interface {
    names: &["propeller:confidential/secrets"],
    grant: Grant::Policy {
        grants: |policy| !policy.secrets.is_empty(),
        remedy: "name a secret under `[[secrets]]`",
    },
    add_to_linker,
};

/// Where the secrets of one task come from.
#[async_trait]
pub trait SecretSource: Send + Sync + 'static {
    /// The secret at an address. The runtime has checked the address and the policy's grant; the
    /// implementation checks the repository and asks the key broker.
    ///
    /// # Errors
    /// [`SecretError`]; the guest gets it as it is, so its text names addresses and causes, never contents.
    async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError>;

    /// Whether the bytes of a secret that the policy lets be revealed may be revealed here and now: a
    /// source can refuse what a policy allows, never the other way round.
    fn may_reveal(&self, uri: &ResourceUri) -> bool {
        let _ = uri;
        true
    }
}

/// What a task keeps: what its policy grants, whom it asks, and how often it has.
pub(crate) struct State {
    grants: Grants,
    source: Arc<dyn SecretSource>,
    quota: u32,
    used: u32,
}

impl State {
    /// How often the source was asked.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Whether the policy grants this secret, and to be revealed if `reveal` says so.
    fn grants(&self, uri: &ResourceUri, reveal: bool) -> bool {
        let secrets = self
            .grants
            .policy()
            .map_or(&[][..], |policy| &policy.secrets);
        let granted = secrets.iter().find(|secret| secret.uri == *uri);
        granted.is_some_and(|secret| secret.reveal || !reveal)
    }

    /// Why the bytes of a secret may not be revealed; none when they may.
    pub(super) fn withheld(&self, uri: &ResourceUri) -> Option<String> {
        if !self.grants(uri, true) {
            return Some(format!(
                "the component's policy does not let `{uri}` be revealed"
            ));
        }
        (!self.source.may_reveal(uri))
            .then(|| format!("this host does not let `{uri}` be revealed"))
    }
}

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        Self {
            grants: start.task.grants.clone(),
            source: Arc::clone(&start.services.secrets),
            quota: start.task.limits.secret_quota,
            used: 0,
        }
    }
}

/// What a call works on.
struct Secrets<'a> {
    state: &'a mut State,
    table: &'a mut ResourceTable,
    memory: &'a mut MemoryMeter,
}

impl HasData for Secrets<'static> {
    type Data<'a> = Secrets<'a>;
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    secrets::add_to_linker::<_, Secrets<'static>>(linker, |store| Secrets {
        state: &mut store.interfaces.secrets,
        table: &mut store.table,
        memory: &mut store.memory,
    })
}

/// What a `secret` handle stands for.
pub struct Secret {
    uri: ResourceUri,
    /// Shared only for the moment in which the engine copies it into the guest.
    bytes: Arc<[u8]>,
}

impl Secret {
    fn new(uri: ResourceUri, bytes: &[u8]) -> Self {
        Self {
            uri,
            bytes: Arc::from(bytes),
        }
    }

    pub(super) fn address(&self) -> &ResourceUri {
        &self.uri
    }

    pub(super) fn bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            bytes.zeroize();
        }
    }
}

type Error = Trappable<SecretError>;

impl Host for Secrets<'_> {
    async fn get(&mut self, uri: String) -> Result<Resource<Secret>, Error> {
        let uri = secret_uri(&uri).map_err(SecretError::InvalidUri)?;
        if !self.state.grants(&uri, false) {
            let reason = format!("the component's policy does not name `{uri}`");
            return Err(SecretError::NotGranted(reason).into());
        }
        if self.state.used >= self.state.quota {
            return Err(SecretError::QuotaExceeded(self.state.quota).into());
        }
        // Counted before the answer: what the key broker refuses costs it as much as what it gives.
        self.state.used += 1;
        let bytes = self.state.source.secret(&uri).await?;
        self.hold(Secret::new(uri, &bytes))
    }

    fn convert_secret_error(&mut self, error: Error) -> wasmtime::Result<SecretError> {
        error.into_wit()
    }
}

impl Secrets<'_> {
    fn hold(&mut self, secret: Secret) -> Result<Resource<Secret>, Error> {
        let size = secret.size();
        if size > MAX_SECRET_BYTES {
            return Err(SecretError::TooLarge(MAX_SECRET_BYTES).into());
        }
        if !self.memory.reserve(size) {
            let reason =
                "the task's memory limit leaves no room for this secret; drop others first";
            return Err(SecretError::Other(reason.to_owned()).into());
        }
        trappable::push(self.table, secret).inspect_err(|_| self.memory.release(size))
    }
}

impl HostSecret for Secrets<'_> {
    fn uri(&mut self, secret: Resource<Secret>) -> wasmtime::Result<String> {
        Ok(self.table.get(&secret)?.uri.to_string())
    }

    fn drop(&mut self, secret: Resource<Secret>) -> wasmtime::Result<()> {
        let secret = self.table.delete(secret)?;
        self.memory.release(secret.size());
        Ok(())
    }
}

impl WitError for SecretError {
    fn other(words: String) -> Self {
        Self::Other(words)
    }

    fn too_many_handles(limit: usize) -> Self {
        Self::TooManyHandles(u32::try_from(limit).unwrap_or(u32::MAX))
    }
}

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../wit/confidential",
        inline: "
            package proplet:host;
            world host { import propeller:confidential/secrets@0.1.0; }
        ",
        world: "proplet:host/host",
        imports: {
            "propeller:confidential/secrets.get": async | trappable,
            default: trappable,
        },
        with: { "propeller:confidential/secrets.secret": super::Secret },
        trappable_error_type: { "propeller:confidential/secrets.secret-error" => super::Error },
    });
}

#[cfg(test)]
mod tests {
    use proplet_component::Policy;

    use super::*;

    struct Nothing;

    #[async_trait]
    impl SecretSource for Nothing {
        async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
            Err(SecretError::NotFound(uri.to_string()))
        }
    }

    fn uri(tag: &str) -> ResourceUri {
        format!("kbs:///a/b/{tag}").parse().unwrap()
    }

    fn state(grants: Grants) -> State {
        State {
            grants,
            source: Arc::new(Nothing),
            quota: 1,
            used: 0,
        }
    }

    fn policy(toml: &str) -> State {
        let policy = Policy::parse(format!("version = 1\n{toml}").as_bytes()).unwrap();
        state(Grants::from_policy(policy))
    }

    #[test]
    fn a_policy_grants_what_it_names() {
        let held = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"");
        assert!(held.grants(&uri("c"), false) && !held.grants(&uri("c"), true));
        assert!(!held.grants(&uri("d"), false));
        let shown = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"\nreveal = true");
        assert!(shown.grants(&uri("c"), true) && !shown.grants(&uri("d"), true));
        assert!(shown.withheld(&uri("c")).is_none());
        assert!(shown.withheld(&uri("d")).is_some());
    }

    #[test]
    fn without_a_policy_nothing_is_granted() {
        let plain = state(Grants::plain());
        assert!(!plain.grants(&uri("c"), false));
        assert!(plain.withheld(&uri("c")).is_some());
    }
}
