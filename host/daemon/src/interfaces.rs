//! The interfaces for other programs in the VM, where the settings ask for them.

use std::{sync::Arc, time::Duration};

use proplet_agent::{AttestationAgent, Interface, KeyUnwrapper, ListenError, Listener, Serving};
use proplet_executor::Executor;
use proplet_kbs::{
    KbsConfig,
    attestation_service::{AttestationService, AttestationServiceError},
};
use proplet_settings::{Settings, TokenService};
use thiserror::Error;
use tracing::{info, warn};

use crate::record::Record;

/// How long the attestation service may take.
const TOKEN_PATIENCE: Duration = Duration::from_secs(30);
/// How much longer than its parts a request may take.
const GRACE: Duration = Duration::from_secs(5);

/// An interface could not be served.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// Its address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The way to the attestation service.
    #[error(transparent)]
    AttestationService(#[from] AttestationServiceError),
}

/// The interfaces that are served. They end when this is dropped.
pub(super) struct Interfaces(Vec<Serving>);

impl Interfaces {
    /// Serves what the settings ask for. What they give is put on record.
    pub(super) async fn serve(
        settings: &Settings,
        executor: &Executor,
        record: &Record,
    ) -> Result<Self, InterfaceError> {
        let mut serving = Vec::new();
        let evidence = settings.attestation.timeout;
        if let Some(address) = settings.agent.attestation {
            let listener = if settings.agent.evidence_from_outside {
                Listener::bind_for_everybody(address).await?
            } else {
                Listener::bind(address).await?
            };
            let agent = attestation_agent(settings, executor, record)?;
            info!("Attestation Agent (gRPC) on {}", listener.address());
            if settings.agent.evidence_from_outside {
                warn!(
                    "Everybody who reaches it gets evidence and the TEE's name, because [agent] \
                     evidence_from_outside says so"
                );
            }
            serving.push(listener.serve(agent, evidence + TOKEN_PATIENCE + GRACE));
        }
        if let Some(address) = settings.agent.key_provider
            && let Some((keys, policy)) = executor.keys_for_others()
        {
            let listener = Listener::bind(address).await?;
            warn!(
                "Key provider (gRPC) on {}: every program on this machine gets the keys of images that the key \
                 broker releases to it",
                listener.address()
            );
            let exchange = settings.kbs.as_ref().map_or(GRACE, |kbs| kbs.timeout);
            let unwrapper = Arc::new(KeyUnwrapper::new(keys, policy));
            serving.push(listener.serve(unwrapper, evidence + exchange + GRACE));
        }
        Ok(Self(serving))
    }

    /// Ends them, and lets requests that run come to their end.
    pub(super) async fn stop(self) {
        for serving in self.0 {
            serving.stop().await;
        }
    }
}

fn attestation_agent(
    settings: &Settings,
    executor: &Executor,
    record: &Record,
) -> Result<Arc<dyn Interface>, InterfaceError> {
    let tee = executor.tee_for_others();
    let mut agent = AttestationAgent::new(tee, settings.agent.evidence_per_minute)
        .of_flavour(executor.flavour())
        .with_init_data(settings.init_data.clone())
        .with_witness(Arc::new(record.clone()));
    if settings.agent.evidence_from_outside {
        agent = agent.for_outsiders();
    }
    if let Some(service) = &settings.agent.attestation_service {
        agent = agent.with_tokens(token_service(service)?);
    }
    Ok(Arc::new(agent))
}

fn token_service(settings: &TokenService) -> Result<AttestationService, AttestationServiceError> {
    let mut config = KbsConfig::new(settings.url.clone());
    config.ca_pem = settings.ca_pem.as_ref().map(|pem| pem.as_bytes().to_vec());
    config.allow_http = settings.allow_http;
    config.timeout = TOKEN_PATIENCE;
    AttestationService::new(&config)
}
