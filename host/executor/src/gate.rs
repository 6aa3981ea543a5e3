//! Whether this machine may run encrypted tasks at all.
//!
//! Asked before anything is fetched. Each condition has its own code, and the first that is not met is
//! reported, so that an operator meets them one after the other and not as one riddle.

use std::{fmt, sync::Arc};

use proplet_hal::{TeeName, TeeProvider};
use proplet_settings::Settings;
use tokio::sync::OnceCell;

use super::Host;
use crate::{
    binding::{Binding, BindingRule},
    harden::{Swap, SwapRule},
    refusal::Refusal,
};

pub(super) struct Gate {
    settings: Arc<Settings>,
    provider: Option<Arc<dyn TeeProvider>>,
    detected: Option<TeeName>,
    swap: Swap,
    swap_rule: SwapRule,
    binding_rule: BindingRule,
    /// The TEE's value is fixed for the life of the VM, so it is asked for once. An error is not kept.
    binding: OnceCell<Binding>,
}

/// What encrypted tasks will meet on this machine.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Who makes evidence, and whether it is hardware.
    pub attester: Option<(String, bool)>,
    /// Why encrypted tasks are refused.
    pub refusal: Option<Refusal>,
    /// What is wrong and not enforced here.
    pub warnings: Vec<String>,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.refusal, &self.attester) {
            (Some(refusal), _) => write!(f, "encrypted tasks are refused ({refusal})"),
            (None, Some((attester, true))) => write!(f, "encrypted tasks run under {attester}"),
            (None, Some((attester, false))) => write!(
                f,
                "encrypted tasks run under {attester}, which is NO hardware TEE and protects nothing"
            ),
            (None, None) => f.write_str("encrypted tasks are refused"),
        }
    }
}

impl Gate {
    pub(super) fn new(host: Host) -> Self {
        Self {
            settings: host.settings,
            provider: host.provider,
            detected: host.detected,
            swap: host.swap,
            swap_rule: host.swap_rule,
            binding_rule: host.binding_rule,
            binding: OnceCell::new(),
        }
    }

    /// Passes, or says why not.
    pub(super) async fn pass(&self) -> Result<&Arc<dyn TeeProvider>, Refusal> {
        let provider = self.provider.as_ref().ok_or_else(|| self.no_tee())?;
        self.swap.enforce(self.swap_rule)?;
        if !self.settings.has_document {
            return Err(Refusal::new(
                "settings-missing",
                "encrypted tasks need a settings document: nobody could tell which key broker and \
                 which recipients are in force; start proplet with --config",
            ));
        }
        if self.settings.kbs.is_none() {
            return Err(Refusal::new(
                "kbs-not-configured",
                "encrypted tasks need a key broker: set [kbs] url in the settings document",
            ));
        }
        let binding = self.binding(provider).await;
        binding.enforce(self.binding_rule, provider.is_hardware(), &self.settings)?;
        Ok(provider)
    }

    pub(super) async fn readiness(&self) -> Readiness {
        let refusal = self.pass().await.err();
        let mut warnings = Vec::new();
        if let Some(provider) = &self.provider {
            if !provider.is_hardware() {
                warnings.push(format!(
                    "{} is NOT a hardware TEE: nothing on this machine is confidential",
                    provider.attester()
                ));
            }
            let binding = self.binding(provider).await;
            if binding != Binding::Bound && refusal.is_none() {
                warnings.push(format!("{binding}; this is not enforced here"));
            }
            if self.swap != Swap::None && self.swap_rule == SwapRule::Warn {
                warnings.push("this machine has swap; this is not enforced here".to_owned());
            }
        }
        if self.settings.confidential.allow_a256ctr {
            warnings.push(
                "allow_a256ctr is set: whoever can start tasks and change images can have every \
                 image of the released keys decrypted, the ones wrapped with A256GCM included"
                    .to_owned(),
            );
        }
        if self
            .settings
            .kbs
            .as_ref()
            .is_some_and(|kbs| kbs.url.scheme() == "http")
        {
            warnings
                .push("the key broker is asked over plain http, as the settings allow".to_owned());
        }
        let attester = self
            .provider
            .as_ref()
            .map(|p| (p.attester().to_owned(), p.is_hardware()));
        Readiness {
            attester,
            refusal,
            warnings,
        }
    }

    async fn binding(&self, provider: &Arc<dyn TeeProvider>) -> Binding {
        let found = self
            .binding
            .get_or_try_init(|| async {
                match Binding::of(&self.settings, provider.as_ref()).await {
                    unknown @ Binding::Unknown(_) => Err(unknown),
                    found => Ok(found),
                }
            })
            .await;
        match found {
            Ok(found) => found.clone(),
            Err(unknown) => unknown,
        }
    }

    fn no_tee(&self) -> Refusal {
        let words = match &self.detected {
            Some(tee) => format!(
                "{tee} was detected, but there is no evidence provider for {tee} in this version: \
                 encrypted tasks are refused"
            ),
            None => {
                "encrypted tasks need a hardware TEE, and this machine has none; start the task \
                     on a proplet in a confidential VM"
                    .to_owned()
            }
        };
        Refusal::new("no-tee", words)
    }
}
