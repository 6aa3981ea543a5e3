//! The one place where evidence providers are chosen.
//!
//! Production code takes what the hardware offers or nothing. Fakes live in the test crates and are
//! handed to [`proplet_daemon::Daemon`] by programs that are named as such; there is no setting, variable
//! or feature that puts one in here. The paths and devices are the kernel's own, whatever the settings say.

use std::{path::Path, sync::Arc, time::Duration};

use proplet_executor::{ExecutorError, certificates::KeyDistribution};
use proplet_hal::{
    TeeProvider,
    detection::Detection,
    hardware::{HardwareKind, HardwareTee},
    snp::CertificateFolder,
};
use proplet_settings::Attestation;

/// How long the start of the daemon waits for a first answer, by all ways together.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// What this machine is: the report, and the TEE if there is one.
pub struct Found {
    /// What was looked for and what was there.
    pub detection: Detection,
    /// The TEE.
    pub hardware: Option<Arc<HardwareTee>>,
}

/// Looks for a TEE on this machine. It reads files, and asks for no evidence.
///
/// # Errors
/// When the settings' source of certificates cannot be used.
pub fn find(settings: &Attestation) -> Result<Found, ExecutorError> {
    let detection = Detection::probe(Path::new("/"));
    let kind = detection.tee().and_then(|tee| HardwareKind::of(&tee));
    let hardware = kind.map(|kind| hardware(kind, settings)).transpose()?;
    Ok(Found {
        detection,
        hardware: hardware.map(Arc::new),
    })
}

fn hardware(kind: HardwareKind, settings: &Attestation) -> Result<HardwareTee, ExecutorError> {
    let mut tee = HardwareTee::of_machine(kind).with_patience(settings.timeout);
    if kind == HardwareKind::Snp {
        if let Some(folder) = &settings.certificates {
            tee = tee.with_certificates(Arc::new(CertificateFolder::new(folder.clone())));
        }
        if let Some(service) = &settings.certificate_service {
            tee = tee.with_certificates(Arc::new(KeyDistribution::new(service)?));
        }
    }
    Ok(tee)
}

impl Found {
    /// The TEE as what evidence comes from.
    #[must_use]
    pub fn provider(&self) -> Option<Arc<dyn TeeProvider>> {
        let hardware = self.hardware.as_ref()?;
        Some(Arc::clone(hardware) as Arc<dyn TeeProvider>)
    }

    /// Takes the first way to evidence that answers, and says in the log which one that is and what became of
    /// those before it. None that answers is no reason not to start: a quoting service may come later.
    pub async fn choose(&self) {
        let Some(hardware) = &self.hardware else {
            return;
        };
        for trial in hardware.choose(START_PATIENCE).await {
            match &trial.outcome {
                Ok(_) => {
                    let latency_ms = trial.latency.as_millis();
                    tracing::info!(way = trial.way, latency_ms, "The TEE gives evidence");
                    return;
                }
                Err(error) => {
                    tracing::warn!(way = trial.way, code = %error.code(), "No evidence: {error}");
                }
            }
        }
        tracing::warn!(
            "The TEE gives no evidence yet: encrypted tasks fail until it does. `proplet detect` says more"
        );
    }
}
