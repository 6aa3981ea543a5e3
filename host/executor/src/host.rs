//! The machine that tasks run on.

use std::{path::Path, sync::Arc};

use proplet_audit::Audit;
use proplet_hal::{Flavour, TeeName, TeeProvider};
use proplet_net::names::Resolver;
use proplet_settings::Settings;
use proplet_types::{Clock, SystemClock};

use crate::{
    binding::BindingRule,
    harden::{Swap, SwapRule},
    image_proxy::ImageProxy,
};

/// The machine that tasks run on, as far as it decides about them.
pub struct Host {
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The TEE, or a fake. None refuses encrypted tasks.
    pub provider: Option<Arc<dyn TeeProvider>>,
    /// A TEE that was found, for the words of a refusal when there is no provider for it.
    pub detected: Option<TeeName>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Who knows the addresses of registries and of the hosts that tasks ask.
    pub resolver: Resolver,
    /// Whether there is swap.
    pub swap: Swap,
    /// What swap means.
    pub swap_rule: SwapRule,
    /// When unbound settings refuse.
    pub binding_rule: BindingRule,
    /// The flavour of the VM image.
    pub flavour: Flavour,
    /// The audit log. Without one there is one in memory.
    pub audit: Option<Audit>,
    /// Who fetches images of plain tasks, where the settings say so. Without one this host pulls them itself.
    pub image_proxy: Option<Arc<dyn ImageProxy>>,
}

impl Host {
    /// This machine, with the rules of production.
    #[must_use]
    pub fn new(settings: Arc<Settings>, provider: Option<Arc<dyn TeeProvider>>) -> Self {
        Self {
            settings,
            provider,
            detected: None,
            clock: Arc::new(SystemClock),
            resolver: Resolver::default(),
            swap: Swap::probe(Path::new("/proc/swaps")),
            swap_rule: SwapRule::default(),
            binding_rule: BindingRule::default(),
            flavour: Flavour::of_machine(Path::new("/")),
            audit: None,
            image_proxy: None,
        }
    }
}
