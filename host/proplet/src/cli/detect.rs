//! `proplet detect`: which TEE this machine has, whether it gives evidence, and what is missing.
//!
//! Every way to evidence is tried once, and how each did is told, so that an operator sees why the first one
//! is not used before it is needed. `--evidence` goes one step further than asking: it verifies what came.

mod evidence;
mod report;

use std::path::Path;

use proplet_executor::harden::Swap;
use proplet_settings::Settings;
use proplet_types::Code;

use self::{
    evidence::{Made, make},
    report::Report,
};
use super::{
    arguments::{Detect, SettingsFiles},
    blocking::blocking,
    console::Console,
    context::Context,
    error::CliError,
};
use crate::tee;

/// The report, and whether this version can attest with what was found.
pub(super) async fn run(
    arguments: &Detect,
    files: &SettingsFiles,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let settings = Settings::load(
        files.config.as_deref(),
        files.credentials.as_deref(),
        &context.environment,
    )?;
    let attestation = settings.attestation.clone();
    let found = blocking(move || Ok(tee::find(&attestation)?)).await?;
    if found.hardware.is_some() {
        console.status("Asking the TEE...");
    }
    let made = match (arguments.evidence, &found.hardware) {
        (true, Some(hardware)) => {
            let policy = evidence::policy(arguments)?;
            Some(make(hardware, &policy, context.clock.now()).await?)
        }
        _ => None,
    };
    let swap = Swap::probe(Path::new("/proc/swaps"));
    let report = Report::of(&found, &settings, swap, made).await;
    if console.json {
        console.value(&report.to_json(&found))?;
    } else {
        console.text(&report.to_text(&found))?;
    }
    match (&report.made, arguments.evidence) {
        (Some(Made { failure: None, .. }), _) | (None, false) => Ok(()),
        (
            Some(Made {
                failure: Some(failure),
                ..
            }),
            _,
        ) => Err(CliError::new(failure.code, failure.words.clone())),
        (None, true) => Err(CliError::new(Code::NoTee, found.detection.summary())),
    }
}

#[cfg(test)]
mod tests;
