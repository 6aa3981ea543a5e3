//! The secrets of one component.
//!
//! The runtime has checked that the policy names the address. What is checked here is the repository: a
//! component reaches only the repository of the key that decrypted it, so that the owner of one key cannot
//! write a policy that asks for another owner's secrets. And the type: a key that decrypts images is no
//! component's, whatever its policy says.

use std::sync::Arc;

use async_trait::async_trait;
use proplet_kbs::KbsError;
use proplet_runtime::{SecretError, SecretSource};
use proplet_types::{ImageKeyTypes, ResourceUri};
use zeroize::Zeroizing;

use crate::process::Vault;

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

/// The secrets of a component with a policy: those of the repository that its key is in.
pub(super) struct Secrets {
    pub vault: Arc<Vault>,
    pub repository: String,
    pub key_types: ImageKeyTypes,
}

#[async_trait]
impl SecretSource for Secrets {
    async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        if uri.repository() != self.repository {
            return Err(SecretError::NotGranted(format!(
                "{uri} is not in the repository {:?} of the key that decrypted this component",
                self.repository
            )));
        }
        if !self.key_types.may_be_given(uri) {
            return Err(SecretError::NotGranted(format!(
                "{uri}: resources of type {} decrypt images, and no component is given one; put the \
                 secret under another type",
                self.key_types
            )));
        }
        self.vault.resource(uri).await.map_err(secret_error)
    }
}

fn secret_error(error: KbsError) -> SecretError {
    let words = error.to_string();
    match error {
        KbsError::Denied { .. } | KbsError::Rejected { .. } => SecretError::Denied(words),
        KbsError::NotFound { .. } => SecretError::NotFound(words),
        KbsError::ForeignHost { .. } => SecretError::NotGranted(words),
        KbsError::TooLarge { limit, .. } => SecretError::TooLarge(limit as u64),
        KbsError::Unavailable { .. } | KbsError::Evidence(_) => SecretError::Unavailable(words),
        _ => SecretError::Other(words),
    }
}
