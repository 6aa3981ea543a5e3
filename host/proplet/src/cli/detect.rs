//! `proplet detect`: which TEE this machine has, whether it gives evidence, and what is missing.
//!
//! Every way to evidence is tried once, and how each did is told, so that an operator sees why the first one
//! is not used before it is needed. `--evidence` goes one step further than asking: it verifies what came.

mod failure;
mod report;

use std::path::Path;

use proplet_executor::harden::Swap;
use proplet_hal::{
    ReportData, TeeName, TeeProvider as _,
    hardware::HardwareTee,
    snp::TrustRoots,
    verify::{TrustPolicy, verify},
};
use proplet_settings::Settings;
use proplet_types::Code;

use self::failure::{Failure, Verification};
use self::report::Report;
use super::{
    arguments::{Detect, SettingsFiles},
    blocking::blocking,
    console::Console,
    context::Context,
    error::CliError,
    files,
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
    let verified = match (arguments.evidence, &found.hardware) {
        (true, Some(hardware)) => {
            Some(verified(hardware, arguments.roots.as_deref(), context).await?)
        }
        _ => None,
    };
    let swap = Swap::probe(Path::new("/proc/swaps"));
    let report = Report::of(&found, &settings, swap, verified).await;
    if console.json {
        console.value(&report.to_json(&found))?;
    } else {
        console.text(&report.to_text(&found))?;
    }
    match (&report.verified, arguments.evidence) {
        (Some(Ok(())), _) | (None, false) => Ok(()),
        (Some(Err(error)), _) => Err(CliError::new(error.code, error.words.clone())),
        (None, true) => Err(CliError::new(Code::NoTee, found.detection.summary())),
    }
}

/// Makes one piece of evidence and verifies it: down to the roots, and over what was asked. The second value
/// is false when evidence was made and no certificate went along.
async fn verified(
    hardware: &HardwareTee,
    roots: Option<&Path>,
    context: &Context,
) -> Result<Verification, CliError> {
    let roots = match roots {
        None => TrustRoots::amd()
            .map_err(|error| CliError::new(Code::Internal, format!("built-in roots: {error}")))?,
        Some(path) => {
            let pem = files::read("roots", path, files::MAX_KEY_BYTES)?;
            TrustRoots::from_pem(&pem).map_err(|error| CliError::input("roots", path, error))?
        }
    };
    // Any data will do that nobody has seen before.
    let nonce = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes);
    let asked = ReportData::new(nonce.as_flattened())
        .map_err(|error| CliError::new(Code::Internal, error.to_string()))?;
    let evidence = match hardware.evidence(&asked).await {
        Ok(evidence) => evidence,
        Err(error) => {
            let (code, words) = (error.code(), error.to_string());
            return Ok((Err(Failure { code, words }), true));
        }
    };
    let chain = evidence.evidence.get("cert_chain");
    let endorsed = evidence.tee != TeeName::SNP || chain.is_some_and(|chain| !chain.is_null());
    let policy = TrustPolicy::with_snp_roots(roots);
    let not_verified = |words: String| Failure {
        code: Code::NotVerified,
        words: format!("the evidence was made and does not verify: {words}"),
    };
    let outcome = match verify(&evidence, &policy, context.clock.now()) {
        Err(error) => Err(not_verified(error.to_string())),
        Ok(verified) if !verified.binds(&asked) => {
            Err(not_verified("it is over other report data".to_owned()))
        }
        Ok(_) => Ok(()),
    };
    Ok((outcome, endorsed))
}

#[cfg(test)]
mod tests;
