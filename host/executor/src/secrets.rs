//! The secrets of one component.
//!
//! The runtime has checked that the policy names the address. What is checked here is the repository: a
//! component reaches only the repository of the key that decrypted it, so that the owner of one key cannot
//! write a policy that asks for another owner's secrets. And the type: a key that decrypts images is no
//! component's, whatever its policy says.

use std::sync::Arc;

use async_trait::async_trait;
use proplet_kbs::{KbsError, ResourceUri};
use proplet_runtime::{SecretError, SecretSource};
use zeroize::Zeroizing;

use super::Inner;

/// The secrets of a component that may have none.
pub(super) struct NoSecrets;

#[async_trait]
impl SecretSource for NoSecrets {
    async fn secret(&self, uri: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        Err(SecretError::NotGranted(format!(
            "{uri}: no policy counts for this component"
        )))
    }

    fn may_reveal(&self, _: &str) -> bool {
        false
    }
}

/// The secrets of a component with a policy: those of the repository that its key is in.
pub(super) struct Secrets {
    pub inner: Arc<Inner>,
    pub repository: String,
}

#[async_trait]
impl SecretSource for Secrets {
    async fn secret(&self, uri: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let parsed: ResourceUri = uri
            .parse()
            .map_err(|error| SecretError::InvalidUri(format!("{uri}: {error}")))?;
        if parsed.repository() != self.repository {
            return Err(SecretError::NotGranted(format!(
                "{uri} is not in the repository {:?} of the key that decrypted this component",
                self.repository
            )));
        }
        let types = &self.inner.settings.confidential.image_key_types;
        if !types.may_be_given(&parsed) {
            return Err(SecretError::NotGranted(format!(
                "{uri}: resources of type {types} decrypt images, and no component is given one; \
                 put the secret under another type"
            )));
        }
        let vault = self
            .inner
            .vault
            .as_ref()
            .ok_or_else(|| SecretError::Unavailable("there is no key broker".to_owned()))?;
        match vault.resource(&parsed).await {
            Ok(resource) => Ok(resource.bytes),
            Err(error) => Err(secret_error(error)),
        }
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
