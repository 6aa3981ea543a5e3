//! What `detect` shows.

use std::fmt::Write as _;

use proplet_executor::{
    binding::Binding,
    harden::{Swap, SwapRule},
};
use proplet_hal::{
    TeeProvider as _,
    hardware::{HardwareKind, OwnEvidence, Trial},
};
use proplet_settings::Settings;
use proplet_types::text::line;
use serde_json::{Value, json};

use super::evidence::{Made, hex};
use crate::tee::Found;

/// What is shown.
pub(super) struct Report {
    trials: Vec<Trial>,
    own: Option<OwnEvidence>,
    binding: Option<Binding>,
    /// What became of one piece of evidence, when that was asked for.
    pub made: Option<Made>,
    missing: Vec<String>,
}

impl Report {
    pub async fn of(found: &Found, settings: &Settings, swap: Swap, made: Option<Made>) -> Self {
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
        missing.extend(made.iter().flat_map(|made| made.next.iter().cloned()));
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
            made,
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
                Ok(_) => writeln!(
                    text,
                    "  - {way}: works, {latency} ms; {}",
                    came_along(trial, found)
                ),
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
        if let Some(made) = &self.made {
            write_made(made, &mut text);
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
                        "compared_with_tdx_module": is_tdx(found).then_some(trial.compared),
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
            .map(|(name, version)| (member(name), json!(version)))
            .collect();
        let evidence = self.made.as_ref().map(made_to_json);
        json!({
            "tee": detection.tee().map(|tee| tee.to_string()),
            "summary": detection.summary(),
            "provider": self.works().and(found.hardware.as_ref()).map(|tee| tee.attester().to_owned()),
            "way": self.works().map(|trial| trial.way),
            "ways": ways,
            "measurement": own.map(|own| hex(&own.measurement)),
            "init_data": own.and_then(|own| own.init_data.as_deref()).map(hex),
            "versions": versions,
            "reference_values": own.map(|own| &own.reference_values),
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
            "hyper_v": detection.hyper_v.map(|isolation| isolation.to_string()),
            "tpm": detection.tpm,
        })
    }
}

fn is_tdx(found: &Found) -> bool {
    found.detection.tee().and_then(|tee| HardwareKind::of(&tee)) == Some(HardwareKind::Tdx)
}

/// What a way that works gave besides.
fn came_along(trial: &Trial, found: &Found) -> String {
    if is_tdx(found) {
        return match trial.compared {
            true => "the quote says what the TDX module says",
            false => "not held against the TDX module: /dev/tdx_guest cannot be opened",
        }
        .to_owned();
    }
    let kinds = trial.outcome.as_deref().unwrap_or_default();
    let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    let kinds = match kinds.as_slice() {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    format!("certificates of the host: {kinds}")
}

fn write_made(made: &Made, text: &mut String) {
    let (latency, words) = (made.latency.as_millis(), &made.failure);
    let words = words.as_ref().map_or_else(
        || "made and verified".to_owned(),
        |failure| line(&failure.words),
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Evidence: {words} ({latency} ms)");
    let certificate = made.certificate.as_deref();
    // Of evidence that was made, something is known to hold.
    if !made.checked.is_empty() {
        let log = match made.event_log {
            Some(true) => ", the event log",
            Some(false) => ", no event log",
            None => "",
        };
        let _ = writeln!(
            text,
            "  with it: {}{log}",
            certificate.unwrap_or("no certificate")
        );
    }
    for (name, value) in &made.platform {
        let _ = writeln!(text, "  {name}: {}", line(value));
    }
    for checked in &made.checked {
        let _ = writeln!(text, "  checked: {}", line(checked));
    }
    for unchecked in &made.unchecked {
        let _ = writeln!(text, "  NOT checked: {}", line(unchecked));
    }
}

fn made_to_json(made: &Made) -> Value {
    let platform: serde_json::Map<String, Value> = made
        .platform
        .iter()
        .map(|(name, value)| (member(name), json!(value)))
        .collect();
    json!({
        "verified": made.failure.is_none(),
        "code": made.failure.as_ref().map(|failure| failure.code),
        "error": made.failure.as_ref().map(|failure| failure.words.as_str()),
        "latency_ms": made.latency.as_secs_f64() * 1000.0,
        "certificate": made.certificate,
        "event_log": made.event_log,
        "platform": platform,
        "checked": made.checked,
        "not_checked": made.unchecked,
    })
}

/// A name as a member of an object.
fn member(name: &str) -> String {
    name.replace(' ', "_").to_lowercase()
}
