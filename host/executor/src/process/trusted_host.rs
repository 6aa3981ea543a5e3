//! Whom a key broker releases to.

use std::sync::Arc;

use proplet_audit::Audit;
use proplet_hal::{Flavour, TeeProvider};
use proplet_results::ReceiptKey;
use proplet_types::Digest;

use super::vault::Vault;
use crate::identity::Instance;

/// The TEE of this host and the key broker that trusts it: what keys are released to and results are
/// signed by.
pub(crate) struct TrustedHost {
    pub provider: Arc<dyn TeeProvider>,
    pub receipt_key: Arc<ReceiptKey>,
    pub settings_digest: Digest,
    pub flavour: Flavour,
    pub vault: Arc<Vault>,
    pub instance: Instance,
    pub audit: Audit,
}
