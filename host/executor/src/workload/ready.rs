//! A component that is ready, and what its being here rests on.

use std::sync::Arc;

use proplet_component::EmbeddedPolicy;
use proplet_jose::jwk::PublicKey;
use proplet_kbs::{SessionId, protocol};
use proplet_runtime::{Compiled, RuntimeError, TaskLimits};
use proplet_types::{Code, Digest, ResourceUri};

use crate::{
    process::{Given, trusted_host::TrustedHost},
    refusal::Refusal,
};

/// A component with all that was decided about it, ready to be run.
pub struct Workload {
    /// Digest of the component.
    pub(crate) component_digest: Digest,
    /// Digest of the image manifest, when it came from one.
    pub(crate) image_digest: Option<Digest>,
    /// The host's limits, lowered by the policy.
    pub(crate) limits: TaskLimits,
    /// The code, or why there is none.
    pub(crate) code: Result<Compiled, RuntimeError>,
    /// How it came here, which decides what may leave.
    pub(crate) road: Road,
}

/// How a component came here.
pub(crate) enum Road {
    /// In clear. It gets no secrets, and nothing of it is confidential.
    Plain,
    /// Decrypted under a key that the key broker released.
    Encrypted(Box<Release>),
}

/// What a key broker's release of a component's key rests on and gives.
pub(crate) struct Release {
    /// The host that it was released to.
    pub host: Arc<TrustedHost>,
    /// Id of the key.
    pub kid: ResourceUri,
    /// Session in which it was released, of those of [`Release::image`].
    pub session: SessionId,
    /// Which key it was.
    pub key_digest: Digest,
    /// What was known of the component when its key was asked for.
    pub image: protocol::Requester,
    /// What the key broker is told when something is asked for on the component's behalf.
    pub component: protocol::Requester,
    /// Digest of the index that led to the image.
    pub index_digest: Option<Digest>,
    /// The policy, when one counts.
    pub policy: Option<EmbeddedPolicy>,
    /// Who may read the results; never empty.
    pub recipients: Vec<PublicKey>,
    /// The resource that they came from, where they came from one.
    pub recipients_from: Given,
}

impl Release {
    /// Passes for as long as the session lives in which the component was released.
    pub(crate) fn still_holds(&self) -> Result<(), Refusal> {
        if self.host.vault.live_session_for(&self.image) == Some(self.session) {
            return Ok(());
        }
        Err(Refusal::new(
            Code::SessionEnded,
            "the key broker session that released this component has ended; start the task again, and the \
             key broker decides anew",
        ))
    }
}

impl Workload {
    /// Whether the session that released the component is over. A plain one needs none.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.road {
            Road::Plain => false,
            Road::Encrypted(release) => release.still_holds().is_err(),
        }
    }

    /// Whether others than its recipients may see what it uses while it runs. When it computes and when it takes memory
    /// depends on what it computes on, so an encrypted one must say so in a policy that counts.
    pub(crate) fn may_be_watched(&self) -> bool {
        match &self.road {
            Road::Plain => true,
            Road::Encrypted(release) => {
                let policy = release.policy.as_ref();
                policy.is_some_and(|embedded| embedded.policy.metrics)
            }
        }
    }

    pub(crate) fn policy_digest(&self) -> Option<Digest> {
        match &self.road {
            Road::Plain => None,
            Road::Encrypted(release) => release.policy.as_ref().map(|policy| policy.digest),
        }
    }
}
