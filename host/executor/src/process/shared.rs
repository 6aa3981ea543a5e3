//! Everything that tasks share.

use std::sync::Arc;

use proplet_audit::{Audit, Boot, Event};
use proplet_hal::{Flavour, TeeProvider};
use proplet_results::ReceiptKey;
use proplet_runtime::{Runtime, RuntimeConfig};
use proplet_settings::Settings;
use proplet_types::{Clock, Code, Digest};

use super::{
    confidential::Confidential, credentials::HostCredentials, gate, sources::Sources, ways::Ways,
};
use crate::{
    error::ExecutorError,
    host::Host,
    quotes::{GuestQueue, Patient},
    refusal::Refusal,
};

/// The most places that the engine has, for tasks and requests together.
const MAX_PLACES: u32 = 1000;

/// Everything that tasks share.
pub(crate) struct Process {
    pub settings: Arc<Settings>,
    pub settings_digest: Digest,
    /// The flavour of the VM image, which claims and receipts name.
    pub flavour: Flavour,
    /// What evidence comes from. Plain tasks attest too.
    pub provider: Option<Arc<dyn TeeProvider>>,
    /// Where guests wait for it.
    pub guest_queue: Arc<GuestQueue>,
    pub receipt_key: Arc<ReceiptKey>,
    pub clock: Arc<dyn Clock>,
    pub audit: Audit,
    pub runtime: Runtime,
    pub sources: Sources,
    /// What tasks reach outside of this host.
    pub ways: Ways,
    /// What encrypted tasks need, or why they are refused.
    pub confidential: Result<Arc<Confidential>, Refusal>,
    /// What lets this host in elsewhere.
    pub credentials: HostCredentials,
    pub(super) warnings: Vec<String>,
}

impl Process {
    pub(crate) fn new(mut host: Host) -> Result<Self, ExecutorError> {
        let settings = Arc::clone(&host.settings);
        let patience = settings.attestation.timeout;
        host.provider = host
            .provider
            .map(|provider| Arc::new(Patient::new(provider, patience)) as Arc<dyn TeeProvider>);
        let setup = |error: &dyn std::fmt::Display| ExecutorError::Setup(error.to_string());
        let receipt_key = ReceiptKey::generate().map_err(|error| setup(&error))?;
        let receipt_key = Arc::new(receipt_key);
        let settings_digest = settings.digest;
        let audit = match host.audit.take() {
            Some(audit) => audit,
            None => {
                let boot = Boot {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    settings: settings_digest,
                };
                Audit::in_memory(Arc::clone(&host.clock), boot).map_err(|error| setup(&error))?
            }
        };
        let provider = host.provider.as_ref();
        audit.record(Event::Host {
            receipt_key: receipt_key.thumbprint(),
            attester: provider.map(|provider| provider.attester().to_owned()),
            is_hardware: provider.is_some_and(|provider| provider.is_hardware()),
            is_debug: host.flavour.is_debug(),
        });
        let tasks = u32::try_from(settings.limits.tasks).unwrap_or(u32::MAX);
        // Places cost address space, so there are none where nothing is served.
        let requests = settings.http.listen.map_or(0, |_| settings.http.requests);
        let daemons = u32::try_from(settings.daemon_tasks.tasks).unwrap_or(u32::MAX);
        // A place over the count is given to an owner who has none, among tasks and among daemons. Where the engine has
        // no more places, whoever is given one waits for it.
        let more = 1_u32
            .saturating_add(daemons)
            .saturating_add(u32::from(daemons > 0));
        let room = MAX_PLACES.saturating_sub(tasks.saturating_add(requests));
        let runtime = Runtime::new(RuntimeConfig {
            concurrent_tasks: tasks.saturating_add(more.min(room)),
            concurrent_requests: requests,
            max_component_bytes: settings.registry.max_layer_bytes,
            compile_ms: settings.limits.compile_ms,
            ..RuntimeConfig::default()
        })?;
        let confidential = gate::open(&host, &receipt_key, &settings_digest, &audit)?.map(Arc::new);
        let credentials = HostCredentials {
            settings: Arc::clone(&settings),
            confidential: confidential.clone(),
            audit: audit.clone(),
        };
        Ok(Self {
            sources: Sources::new(
                &settings,
                credentials.clone(),
                host.image_proxy.take(),
                host.resolver.clone(),
            )?,
            ways: Ways::new(&settings, host.resolver.clone())?,
            credentials,
            confidential,
            warnings: gate::warnings(&host),
            settings,
            settings_digest,
            flavour: host.flavour,
            provider: host.provider,
            guest_queue: Arc::default(),
            receipt_key,
            clock: host.clock,
            audit,
            runtime,
        })
    }

    /// What encrypted tasks need, or why they are refused before anything is asked of anybody.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn takes_encrypted_tasks(&self) -> Result<&Confidential, Refusal> {
        if !self.settings.confidential.tasks {
            return Err(Refusal::new(
                Code::EncryptedTasksOff,
                "the settings of this host take no encrypted tasks ([confidential] tasks = false); start the \
                 task on another proplet",
            ));
        }
        match &self.confidential {
            Ok(confidential) => Ok(confidential),
            Err(refusal) => Err(refusal.clone()),
        }
    }

    /// Forgets what belongs to a session that has ended.
    pub(crate) fn forget_expired(&self) {
        if let Ok(confidential) = &self.confidential {
            let vault = &confidential.host.vault;
            vault.forget_expired();
            for digest in confidential.warm.take_expired() {
                self.runtime.forget(&digest);
            }
        }
    }
}
