//! Credentials that are fetched when a registry first asks who we are.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::docker::Credentials;
use crate::keys::KeySourceError;

/// Gives credentials for registries. The daemon's asks its key broker.
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync {
    /// The credentials. Asked for by many pulls at once.
    ///
    /// # Errors
    /// Why there are none. The error's code becomes the code of the pull.
    async fn credentials(&self) -> Result<Arc<Credentials>, KeySourceError>;

    /// Newer ones, after a registry refused these. None when there are none, or when that was asked a moment ago.
    ///
    /// # Errors
    /// As [`CredentialSource::credentials`].
    async fn newer(
        &self,
        refused: &Arc<Credentials>,
    ) -> Result<Option<Arc<Credentials>>, KeySourceError>;
}
