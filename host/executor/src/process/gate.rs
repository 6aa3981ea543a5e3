//! Whether this machine may run encrypted tasks at all.
//!
//! Known when the process starts, but for one thing that only the TEE can tell and that is asked before
//! anything is fetched. Each condition has its own code, and the first that is not met is reported, so that
//! an operator meets them one after the other and not as one riddle.

use std::sync::Arc;

use proplet_audit::Audit;
use proplet_hal::{TeeName, TeeProvider};
use proplet_kbs::{ComponentBound, KbsClient, KbsConfig};
use proplet_results::ReceiptKey;
use proplet_settings::Settings;
use proplet_types::{Code, Digest};

use super::{confidential::Confidential, trusted_host::TrustedHost, vault::Vault};
use crate::{
    error::ExecutorError,
    harden::{Swap, SwapRule},
    host::Host,
    host_text,
    ledger::Attestations,
    refusal::Refusal,
};

/// What encrypted tasks need, or the first condition that is not met.
///
/// # Errors
/// When the client of the key broker cannot be set up: that is a mistake, and no condition.
pub(super) fn open(
    host: &Host,
    receipt_key: &Arc<ReceiptKey>,
    settings_digest: &Digest,
    audit: &Audit,
) -> Result<Result<Confidential, Refusal>, ExecutorError> {
    let Some(provider) = &host.provider else {
        return Ok(Err(no_tee(host.detected.as_ref())));
    };
    let vault = vault(&host.settings, provider, audit)?;
    if host.flavour.is_debug() && !host.settings.confidential.allow_debug_image {
        return Ok(Err(Refusal::new(
            Code::DebugImage,
            "this VM is of the debug flavour of the image, and whoever started it can read everything in it; start the \
             task on a VM of the sealed image, or write allow_debug_image = true under [confidential]",
        )));
    }
    if let Err(refusal) = host.swap.enforce(host.swap_rule) {
        return Ok(Err(refusal));
    }
    if !host.settings.has_document {
        return Ok(Err(Refusal::new(
            Code::SettingsMissing,
            "encrypted tasks need a settings document: nobody could tell which key broker and which \
             recipients are in force; start proplet with --config",
        )));
    }
    let Some(vault) = vault else {
        return Ok(Err(Refusal::new(
            Code::KbsNotConfigured,
            "encrypted tasks need a key broker: set [kbs] url in the settings document",
        )));
    };
    Ok(Ok(Confidential::new(
        TrustedHost {
            provider: Arc::clone(provider),
            receipt_key: Arc::clone(receipt_key),
            settings_digest: *settings_digest,
            flavour: host.flavour,
            vault: Arc::new(vault),
            instance: Default::default(),
            audit: audit.clone(),
        },
        host.binding_rule,
    )))
}

/// What is wrong with a host and not enforced, or unwise.
pub(super) fn warnings(host: &Host) -> Vec<String> {
    let mut warnings = Vec::new();
    if host.flavour.is_debug() {
        warnings.push(
            "this is the DEBUG FLAVOUR of the VM image: whoever started this VM can log in, and NOTHING in it is \
             confidential towards them"
                .to_owned(),
        );
    }
    if let Some(provider) = &host.provider {
        if !provider.is_hardware() {
            warnings.push(format!(
                "{} is NOT a hardware TEE: nothing on this machine is confidential",
                provider.attester()
            ));
        }
        if host.swap != Swap::None && host.swap_rule == SwapRule::Warn {
            warnings.push("this machine has swap; this is not enforced here".to_owned());
        }
    }
    if host.settings.confidential.allow_a256ctr {
        warnings.push(
            "allow_a256ctr is set: whoever can start tasks and change images can have every image of \
             the released keys decrypted, the ones wrapped with A256GCM included"
                .to_owned(),
        );
    }
    let kbs = host.settings.kbs.as_ref();
    if kbs.is_some_and(|kbs| kbs.url.scheme() == "http") {
        warnings.push("the key broker is asked over plain http, as the settings allow".to_owned());
    }
    let bound = kbs.and_then(|kbs| kbs.component_bound.as_ref());
    if matches!(bound, Some(ComponentBound::Passport(service)) if service.url.scheme() == "http") {
        warnings.push(
            "the attestation service is asked over plain http, as the settings allow".to_owned(),
        );
    }
    warnings
}

fn vault(
    settings: &Settings,
    provider: &Arc<dyn TeeProvider>,
    audit: &Audit,
) -> Result<Option<Vault>, ExecutorError> {
    let Some(kbs) = &settings.kbs else {
        return Ok(None);
    };
    let mut config = KbsConfig::new(kbs.url.clone());
    config.ca_pem = kbs.ca_pem.as_ref().map(|pem| pem.as_bytes().to_vec());
    config.proxy = kbs.proxy.clone();
    config.allow_http = kbs.allow_http;
    config.timeout = kbs.timeout;
    config.init_data = settings.init_data.clone();
    config.component_bound = kbs.component_bound.clone();
    config.witness = Some(Arc::new(Attestations(audit.clone())));
    Ok(Some(Vault::new(KbsClient::new(
        config,
        Arc::clone(provider),
    )?)))
}

fn no_tee(detected: Option<&TeeName>) -> Refusal {
    let words = match detected {
        Some(tee) => host_text!(
            "{} was detected, but there is no evidence provider for {} in this version: encrypted tasks \
             are refused",
            tee,
            tee
        ),
        None => {
            "encrypted tasks need a hardware TEE, and this machine has none; start the task on a \
                 proplet in a confidential VM"
                .into()
        }
    };
    Refusal::new(Code::NoTee, words)
}
