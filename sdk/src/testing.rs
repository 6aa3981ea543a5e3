//! A host for `cargo test`: says what the test told it to say, and protects nothing.
//!
//! It exists in native builds only, so no component can hold it. It answers on the thread that runs
//! [`Host::run`]. Tests that need real evidence, real key release and real limits run the component
//! in the real runtime with the fakes of `proplet-testkit`.
//!
//! ```
//! use proplet_sdk::{Failure, results, secrets, testing::Host};
//!
//! fn run(input: String) -> Result<(), Failure> {
//!     let greeting = String::from_utf8(secrets::get("kbs:///default/text/greeting")?.reveal()?)?;
//!     results::publish(format!("{greeting}, {input}"), "text/plain")?;
//!     Ok(())
//! }
//!
//! let host = Host::new().with_secret("kbs:///default/text/greeting", "Hello");
//! host.run(|| run("Ada".into())).unwrap();
//! assert_eq!(host.published().unwrap().content, b"Hello, Ada");
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A host with what a test gave to it. A new one has no inputs, no secrets and no TEE.
#[derive(Clone, Default)]
pub struct Host(Rc<State>);

/// What [`crate::attestation::evidence`] gives in a test, as the test wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Short name of the TEE.
    pub tee: String,
    /// The claims, JSON.
    pub claims: String,
    /// The report data, 64 bytes.
    pub report_data: Vec<u8>,
    /// The evidence, JSON.
    pub evidence: String,
}

/// What a guest published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The bytes.
    pub content: Vec<u8>,
    /// Their media type.
    pub media_type: String,
}

impl Host {
    /// A host with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input.
    #[must_use]
    pub fn with_input(self, bytes: impl AsRef<[u8]>) -> Self {
        self.0
            .inputs
            .borrow_mut()
            .push((bytes.as_ref().to_vec(), None));
        self
    }

    /// Adds an input with a media type.
    #[must_use]
    pub fn with_typed_input(self, bytes: impl AsRef<[u8]>, media_type: &str) -> Self {
        self.0
            .inputs
            .borrow_mut()
            .push((bytes.as_ref().to_vec(), Some(media_type.into())));
        self
    }

    /// Adds a secret that may be revealed.
    #[must_use]
    pub fn with_secret(self, uri: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.0
            .secrets
            .borrow_mut()
            .insert(uri.into(), Some(bytes.as_ref().to_vec()));
        self
    }

    /// Adds a secret that the policy does not let the component see.
    #[must_use]
    pub fn with_opaque_secret(self, uri: &str) -> Self {
        self.0.secrets.borrow_mut().insert(uri.into(), None);
        self
    }

    /// Gives the host a TEE that answers every challenge with `evidence`.
    #[must_use]
    pub fn with_evidence(self, evidence: Evidence) -> Self {
        *self.0.evidence.borrow_mut() = Some(evidence);
        self
    }

    /// Runs `guest` with this host. What the guest publishes stays in the host.
    pub fn run<T>(&self, guest: impl FnOnce() -> T) -> T {
        struct Restore(Option<Rc<State>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(Rc::clone(&self.0))));
        guest()
    }

    /// What the guest published, if it did.
    pub fn published(&self) -> Option<Published> {
        self.0.published.borrow().clone()
    }
}

/// Evidence that no verifier accepts.
impl Default for Evidence {
    fn default() -> Self {
        Self {
            tee: "sample".into(),
            claims: r#"{"kind":"workload"}"#.into(),
            report_data: vec![0; 64],
            evidence: "{}".into(),
        }
    }
}

#[derive(Default)]
struct State {
    inputs: RefCell<Vec<(Vec<u8>, Option<String>)>>,
    /// By address; none for one that is not to be revealed.
    secrets: RefCell<BTreeMap<String, Option<Vec<u8>>>>,
    evidence: RefCell<Option<Evidence>>,
    published: RefCell<Option<Published>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<State>>> = const { RefCell::new(None) };
}

/// The interfaces of `propeller:confidential`, with the signatures of the generated bindings.
pub(crate) mod native {
    use std::rc::Rc;

    use super::{CURRENT, State};

    /// The host of this thread.
    #[allow(
        clippy::panic,
        reason = "native builds are tests, and there is nothing to fall back to"
    )]
    fn state(called: &str) -> Rc<State> {
        CURRENT.with_borrow(Clone::clone).unwrap_or_else(|| {
            panic!(
                "{called} needs a host, and this is not a component: call it inside \
                 proplet_sdk::testing::Host::run"
            )
        })
    }

    pub(crate) mod attestation {
        use super::super::Evidence;
        use super::state;
        use crate::bindings::propeller::confidential::attestation::AttestationError;

        const NO_DIGEST: &str =
            "sha256:0000000000000000000000000000000000000000000000000000000000000000";

        pub(crate) struct EvidenceBundle(Evidence);

        impl EvidenceBundle {
            pub(crate) fn tee(&self) -> String {
                self.0.tee.clone()
            }
            pub(crate) fn claims(&self) -> String {
                self.0.claims.clone()
            }
            pub(crate) fn report_data(&self) -> Vec<u8> {
                self.0.report_data.clone()
            }
            pub(crate) fn evidence(&self) -> Vec<u8> {
                self.0.evidence.clone().into_bytes()
            }
            pub(crate) fn to_json(&self) -> Vec<u8> {
                let Evidence {
                    tee,
                    claims,
                    evidence,
                    ..
                } = &self.0;
                format!(r#"{{"claims":{claims},"evidence":{evidence},"tee":"{tee}"}}"#).into_bytes()
            }
        }

        pub(crate) fn component_digest() -> String {
            state("attestation::identity");
            NO_DIGEST.into()
        }
        pub(crate) fn image_digest() -> Option<String> {
            None
        }
        pub(crate) fn policy_digest() -> Option<String> {
            None
        }
        pub(crate) fn settings_digest() -> String {
            NO_DIGEST.into()
        }
        pub(crate) fn task_id() -> String {
            "cargo-test".into()
        }
        pub(crate) fn tee() -> Option<String> {
            state("attestation::platform")
                .evidence
                .borrow()
                .as_ref()
                .map(|it| it.tee.clone())
        }
        pub(crate) fn is_hardware() -> bool {
            false
        }
        pub(crate) fn evidence(challenge: &[u8]) -> Result<EvidenceBundle, AttestationError> {
            let state = state("attestation::evidence");
            if challenge.len() > 64 {
                let length = u32::try_from(challenge.len()).unwrap_or(u32::MAX);
                return Err(AttestationError::ChallengeTooLong(length));
            }
            let evidence = state
                .evidence
                .borrow()
                .clone()
                .ok_or(AttestationError::NoTee)?;
            Ok(EvidenceBundle(evidence))
        }
    }

    pub(crate) mod secrets {
        use super::state;
        use crate::bindings::propeller::confidential::secrets::SecretError;

        pub(crate) struct Secret {
            pub(super) uri: String,
            pub(super) bytes: Option<Vec<u8>>,
        }

        impl Secret {
            pub(crate) fn uri(&self) -> String {
                self.uri.clone()
            }
        }

        pub(crate) fn get(uri: &str) -> Result<Secret, SecretError> {
            if !uri.starts_with("kbs:///") {
                return Err(SecretError::InvalidUri(uri.into()));
            }
            match state("secrets::get").secrets.borrow().get(uri) {
                Some(bytes) => Ok(Secret {
                    uri: uri.into(),
                    bytes: bytes.clone(),
                }),
                None => Err(SecretError::NotGranted(uri.into())),
            }
        }
    }

    pub(crate) mod reveal {
        use super::secrets::Secret;
        use crate::bindings::propeller::confidential::reveal::RevealError;

        pub(crate) fn reveal(secret: &Secret) -> Result<Vec<u8>, RevealError> {
            secret
                .bytes
                .clone()
                .ok_or_else(|| RevealError::NotGranted(secret.uri.clone()))
        }
    }

    pub(crate) mod inputs {
        use super::state;
        use crate::bindings::propeller::confidential::inputs::InputError;

        pub(crate) fn count() -> u32 {
            u32::try_from(state("inputs::count").inputs.borrow().len()).unwrap_or(u32::MAX)
        }
        pub(crate) fn read(index: u32) -> Result<Vec<u8>, InputError> {
            Ok(input(index)?.0)
        }
        pub(crate) fn media_type(index: u32) -> Result<Option<String>, InputError> {
            Ok(input(index)?.1)
        }

        fn input(index: u32) -> Result<(Vec<u8>, Option<String>), InputError> {
            let state = state("inputs::read");
            let inputs = state.inputs.borrow();
            let found = usize::try_from(index)
                .ok()
                .and_then(|index| inputs.get(index));
            found
                .cloned()
                .ok_or_else(|| InputError::OutOfRange(count()))
        }
    }

    pub(crate) mod results {
        use super::super::Published;
        use super::state;
        use crate::bindings::propeller::confidential::results::PublishError;

        pub(crate) struct Receipt;

        impl Receipt {
            pub(crate) fn jws(&self) -> Option<String> {
                None
            }
            pub(crate) fn result_digest(&self) -> String {
                "sha256:0000000000000000000000000000000000000000000000000000000000000000".into()
            }
        }

        pub(crate) fn publish(content: &[u8], media_type: &str) -> Result<Receipt, PublishError> {
            if media_type.len() > 255 || !media_type.contains('/') {
                return Err(PublishError::InvalidMediaType(media_type.into()));
            }
            let state = state("results::publish");
            let mut published = state.published.borrow_mut();
            if published.is_some() {
                return Err(PublishError::AlreadyPublished);
            }
            let content = content.to_vec();
            *published = Some(Published {
                content,
                media_type: media_type.into(),
            });
            Ok(Receipt)
        }
        pub(crate) fn recipients() -> Vec<String> {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inputs, results};

    #[test]
    #[should_panic(expected = "inputs::count needs a host")]
    fn a_call_without_a_host_panics_and_says_so() {
        inputs::count();
    }

    #[test]
    fn hosts_nest_and_are_put_back() {
        let (outer, inner) = (Host::new().with_input("a"), Host::new());
        outer.run(|| {
            assert_eq!(inner.run(inputs::count), 0);
            assert_eq!(inputs::count(), 1);
        });
    }

    #[test]
    fn a_media_type_is_checked() {
        Host::new().run(|| {
            let refused = results::publish("a", "json").unwrap_err();
            assert_eq!(refused, results::Error::InvalidMediaType("json".into()));
        });
    }
}
