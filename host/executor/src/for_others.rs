//! What this host does for other programs in its VM, where the settings ask for it.

use std::sync::Arc;

use async_trait::async_trait;
use proplet_hal::TeeProvider;
use proplet_image::{KeySource, KeySourceError, PullPolicy};
use proplet_types::ResourceUri;
use zeroize::Zeroizing;

use crate::{
    ledger::Ledger,
    process::{ImageKeys, Process},
    quotes::Queued,
    refusal::Refusal,
};

impl Process {
    pub(crate) fn tee_for_others(&self) -> Option<Arc<dyn TeeProvider>> {
        let tee = Arc::clone(self.provider.as_ref()?);
        let queue = Arc::clone(&self.guest_queue);
        Some(Arc::new(Queued::new(tee, queue)))
    }
}

/// The keys for others, on a host that takes no encrypted tasks.
pub(crate) fn keys(process: &Arc<Process>) -> Option<(Arc<dyn KeySource>, PullPolicy)> {
    if process.settings.confidential.tasks {
        return None;
    }
    let keys = KeysForOthers(Arc::clone(process));
    Some((Arc::new(keys), process.pull_policy(None)))
}

/// Keys of images, released as they would be for a task: on a machine that may run encrypted tasks, under settings
/// that are bound to it, by the key broker of the settings. Nothing is kept.
struct KeysForOthers(Arc<Process>);

#[async_trait]
impl KeySource for KeysForOthers {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        let refused =
            |refusal: Refusal| KeySourceError::new(refusal.code(), refusal.words().to_owned());
        let confidential = self
            .0
            .confidential
            .as_ref()
            .map_err(|refusal| refused(refusal.clone()))?;
        confidential.pass(&self.0.settings).await.map_err(refused)?;
        let keys = ImageKeys::new(
            &confidential.host.vault,
            None,
            Ledger::Boot(self.0.audit.clone()),
        );
        keys.key_encryption_key(kid).await
    }
}
