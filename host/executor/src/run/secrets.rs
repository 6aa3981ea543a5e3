//! The secrets of one component.
//!
//! The runtime has checked that the policy names the address. What is in a component's reach besides is for
//! [`Reach`] to say.

use async_trait::async_trait;
use proplet_kbs::KbsError;
use proplet_runtime::{SecretError, SecretSource};
use proplet_types::{HOST_CREDENTIAL_TYPE, ResourceUri};
use zeroize::Zeroizing;

use crate::process::{OutOfReach, Reach};

/// The secrets of a component that may have none.
pub(super) struct NoSecrets;

#[async_trait]
impl SecretSource for NoSecrets {
    async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        Err(SecretError::NotGranted(format!(
            "{uri}: no policy counts for this component"
        )))
    }

    fn may_reveal(&self, _: &ResourceUri) -> bool {
        false
    }
}

/// The secrets of a component with a policy: those in its reach.
pub(super) struct Secrets(pub Reach);

#[async_trait]
impl SecretSource for Secrets {
    async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        self.0.resource(uri).await.map_err(|why| match why {
            OutOfReach::Repository => SecretError::NotGranted(format!(
                "{uri} is not in the repository {:?} of the key that decrypted this component",
                self.0.repository
            )),
            OutOfReach::NotItsOwn => SecretError::NotGranted(format!(
                "{uri} is not in the repository {:?} of the key that decrypted this component, and the key \
                 broker releases it to whatever runs in this VM; its policy must grant it to this \
                 component's digest",
                self.0.repository
            )),
            OutOfReach::OtherReason => SecretError::NotGranted(format!(
                "{uri} is not in the repository {:?} of the key that decrypted this component, and the key \
                 broker denied it to this VM for what may be another reason than the component: both must \
                 attest alike, over TLS; ask again in a moment",
                self.0.repository
            )),
            OutOfReach::HostCredential => SecretError::NotGranted(format!(
                "{uri}: resources of type {HOST_CREDENTIAL_TYPE} let hosts in elsewhere, and no component is given \
                 one; put the secret under another type"
            )),
            OutOfReach::ImageKeyType => SecretError::NotGranted(format!(
                "{uri}: resources of type {} decrypt images, and no component is given one; put the \
                 secret under another type",
                self.0.key_types
            )),
            OutOfReach::KeyBroker(error) => secret_error(error),
        })
    }
}

fn secret_error(error: KbsError) -> SecretError {
    let words = error.to_string();
    match error {
        KbsError::Denied { .. } | KbsError::Rejected { .. } => SecretError::Denied(words),
        KbsError::NotFound { .. } => SecretError::NotFound(words),
        KbsError::ForeignHost { .. } => SecretError::NotGranted(words),
        KbsError::TooLarge { limit, .. } => SecretError::TooLarge(limit as u64),
        KbsError::Unavailable { .. } | KbsError::Limited { .. } | KbsError::Evidence(_) => {
            SecretError::Unavailable(words)
        }
        _ => SecretError::Other(words),
    }
}
