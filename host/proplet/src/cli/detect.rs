//! `proplet detect`: which TEE this machine has.

use serde_json::json;

use super::{console::Console, error::CliError};
use crate::tee;

/// The report, and whether this version can attest with what was found.
pub(super) fn run(console: &mut Console<'_>) -> Result<(), CliError> {
    let found = tee::find();
    let detection = &found.detection;
    if console.json {
        console.value(&json!({
            "tee": detection.tee().map(|tee| tee.to_string()),
            "summary": detection.summary(),
            "provider": found.provider.as_ref().map(|provider| provider.attester().to_owned()),
            "amd_cpu": detection.amd_cpu,
            "intel_cpu": detection.intel_cpu,
            "tdx_cpu_flag": detection.tdx_flag,
            "dev_sev_guest": detection.sev_guest,
            "dev_sev": detection.sev,
            "dev_tdx_guest": detection.tdx_guest,
            "tsm": detection.tsm,
            "tsm_provider": detection.tsm_provider,
        }))?;
        return Ok(());
    }
    let attests = match (&found.provider, detection.tee()) {
        (Some(provider), _) => format!("Encrypted tasks: attested by {}", provider.attester()),
        (None, Some(tee)) => {
            format!("Encrypted tasks: refused, this version has no provider for {tee}")
        }
        (None, None) => "Encrypted tasks: refused, there is no TEE".to_owned(),
    };
    console.text(&format!("{detection}\n{}\n{attests}", detection.summary()))?;
    Ok(())
}
