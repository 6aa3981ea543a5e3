//! What `detect` shows.

use std::fmt::Write as _;

use proplet_executor::{
    binding::Binding,
    harden::{Swap, SwapRule},
};
use proplet_hal::{
    TeeProvider as _,
    hardware::{OwnEvidence, Trial},
};
use proplet_settings::Settings;
use proplet_types::text::line;
use serde_json::{Value, json};

use super::failure::{Failure, Verification};
use crate::tee::Found;

/// What is shown.
pub(super) struct Report {
    trials: Vec<Trial>,
    own: Option<OwnEvidence>,
    binding: Option<Binding>,
    /// Whether evidence was made and verifies, when that was asked for.
    pub verified: Option<Result<(), Failure>>,
    missing: Vec<String>,
}

impl Report {
    pub async fn of(
        found: &Found,
        settings: &Settings,
        swap: Swap,
        verified: Option<Verification>,
    ) -> Self {
        let mut missing = Vec::new();
        let (trials, own) = match &found.hardware {
            None => {
                missing.push(format!(
                    "{}: see docs/hardware.md for machines that have one",
                    found.detection.summary()
                ));
                (Vec::new(), None)
            }
            Some(hardware) => (hardware.try_all().await, hardware.own().cloned()),
        };
        for trial in &trials {
            if let Err(error) = &trial.outcome {
                missing.push(format!("{}: {error}", trial.way));
            }
        }
        if matches!(verified, Some((_, false))) {
            missing.push(
                "no certificate of the key that signs reports: have the host give one, or set \
                 [attestation] certificates or certificates_url"
                    .to_owned(),
            );
        }
        let binding = match (&found.hardware, &own) {
            (Some(hardware), Some(_)) if settings.has_document => {
                Some(Binding::of(settings, hardware.as_ref()).await)
            }
            _ => None,
        };
        match &binding {
            Some(Binding::Bound) => {}
            Some(other) => missing.push(format!(
                "{other}: see docs/settings.md for what to start the VM with"
            )),
            None if own.is_some() => missing.push(
                "no settings document, so it is not known whether it is bound to this VM: give --config"
                    .to_owned(),
            ),
            None => {}
        }
        if let Err(refusal) = swap.enforce(SwapRule::default()) {
            missing.push(refusal.words().to_owned());
        }
        Self {
            trials,
            own,
            binding,
            verified: verified.map(|(outcome, _)| outcome),
            missing,
        }
    }

    fn works(&self) -> Option<&Trial> {
        self.trials.iter().find(|trial| trial.outcome.is_ok())
    }

    pub fn to_text(&self, found: &Found) -> String {
        let detection = &found.detection;
        let mut text = format!("{detection}\n{}\n", detection.summary());
        // Writing to a string cannot fail.
        if !self.trials.is_empty() {
            text.push_str("Ways to evidence, in the order in which they are used:\n");
        }
        for trial in &self.trials {
            let (way, latency) = (trial.way, trial.latency.as_millis());
            let _ = match &trial.outcome {
                Ok(kinds) => {
                    let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
                    let kinds = if kinds.is_empty() {
                        "none".to_owned()
                    } else {
                        kinds.join(", ")
                    };
                    writeln!(
                        text,
                        "  - {way}: works, {latency} ms; certificates of the host: {kinds}"
                    )
                }
                Err(error) => writeln!(text, "  - {way}: {} after {latency} ms", error.code()),
            };
        }
        if let Some(own) = &self.own {
            let _ = writeln!(text, "Launch measurement: {}", hex(&own.measurement));
            let bound = own.init_data.as_deref().map_or("unset".to_owned(), hex);
            let _ = writeln!(text, "Init-data: {bound}");
            for (name, version) in &own.versions {
                let _ = writeln!(text, "  {name}: {version}");
            }
        }
        if let Some(binding) = &self.binding {
            let _ = writeln!(text, "Settings: {binding}");
        }
        match &self.verified {
            Some(Ok(())) => text.push_str("Evidence: made and verified\n"),
            Some(Err(failure)) => {
                let _ = writeln!(text, "Evidence: {}", line(&failure.words));
            }
            None => {}
        }
        for missing in &self.missing {
            let _ = writeln!(text, "MISSING: {}", line(missing));
        }
        let attests = match (self.works(), detection.tee()) {
            (Some(_), Some(tee)) => format!("attested by {tee}"),
            (None, Some(tee)) => format!("refused until {tee} gives evidence"),
            (_, None) => "refused, there is no TEE".to_owned(),
        };
        let _ = write!(text, "Encrypted tasks: {attests}");
        text
    }

    pub fn to_json(&self, found: &Found) -> Value {
        let detection = &found.detection;
        let ways: Vec<Value> = self
            .trials
            .iter()
            .map(|trial| {
                let latency = trial.latency.as_secs_f64() * 1000.0;
                match &trial.outcome {
                    Ok(kinds) => json!({
                        "way": trial.way,
                        "works": true,
                        "latency_ms": latency,
                        "certificates": kinds.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    }),
                    Err(error) => json!({
                        "way": trial.way,
                        "works": false,
                        "latency_ms": latency,
                        "code": error.code(),
                        "error": error.to_string(),
                    }),
                }
            })
            .collect();
        let own = self.own.as_ref();
        let versions: serde_json::Map<String, Value> = own
            .iter()
            .flat_map(|own| &own.versions)
            .map(|(name, version)| (name.replace(' ', "_").to_lowercase(), json!(version)))
            .collect();
        let evidence = self.verified.as_ref().map(|outcome| match outcome {
            Ok(()) => json!({"verified": true}),
            Err(failure) => {
                json!({"verified": false, "code": failure.code, "error": failure.words})
            }
        });
        json!({
            "tee": detection.tee().map(|tee| tee.to_string()),
            "summary": detection.summary(),
            "provider": self.works().and(found.hardware.as_ref()).map(|tee| tee.attester().to_owned()),
            "way": self.works().map(|trial| trial.way),
            "ways": ways,
            "measurement": own.map(|own| hex(&own.measurement)),
            "init_data": own.and_then(|own| own.init_data.as_deref()).map(hex),
            "versions": versions,
            "settings_bound": self.binding.as_ref().map(|binding| *binding == Binding::Bound),
            "evidence": evidence,
            "missing": self.missing,
            "amd_cpu": detection.amd_cpu,
            "intel_cpu": detection.intel_cpu,
            "tdx_cpu_flag": detection.tdx_flag,
            "dev_sev_guest": detection.sev_guest,
            "dev_sev": detection.sev,
            "dev_tdx_guest": detection.tdx_guest,
            "tsm": detection.tsm,
            "tsm_provider": detection.tsm_provider,
            "azure": detection.azure,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
