//! What encrypted tasks need of this machine. It is there as a whole, or not at all.

use std::sync::Arc;

use proplet_settings::Settings;

use super::{owners::Owners, trusted_host::TrustedHost, warm::Warm};
use crate::{
    binding::{Binding, BindingRule},
    flight::Flight,
    refusal::Refusal,
};

/// A host that meets every condition that is known when it starts.
pub(crate) struct Confidential {
    pub host: Arc<TrustedHost>,
    pub warm: Warm,
    pub owners: Owners,
    binding_rule: BindingRule,
    /// The TEE's value is fixed for the life of the VM, so it is asked for once. An error is not kept.
    binding: Flight<(), Binding, Binding>,
}

impl Confidential {
    pub(super) fn new(host: TrustedHost, binding_rule: BindingRule) -> Self {
        Self {
            host: Arc::new(host),
            warm: Warm::default(),
            owners: Owners::default(),
            binding_rule,
            binding: Flight::default(),
        }
    }

    /// Passes when the settings are those that the VM was started with, or need not be.
    pub(crate) async fn pass(&self, settings: &Arc<Settings>) -> Result<(), Refusal> {
        let binding = self.binding(settings).await;
        self.enforce(&binding, settings)
    }

    pub(super) fn enforce(&self, binding: &Binding, settings: &Settings) -> Result<(), Refusal> {
        let is_hardware = self.host.provider.is_hardware();
        binding.enforce(self.binding_rule, is_hardware, settings)
    }

    pub(super) async fn binding(&self, settings: &Arc<Settings>) -> Binding {
        let (provider, settings) = (Arc::clone(&self.host.provider), Arc::clone(settings));
        let ask = || async move {
            match Binding::of(&settings, provider.as_ref()).await {
                unknown @ Binding::Unknown(_) => Err(unknown),
                found => Ok(found),
            }
        };
        let aborted = Binding::Unknown("the request ended inside this process".to_owned());
        match self.binding.get((), aborted, ask).await {
            Ok(found) | Err(found) => found,
        }
    }
}
