//! `proplet verify`: evidence or a sealed result, offline and without any key.

use proplet_results::verify::{VerifyError, verify, verify_bundle};

use super::{
    Context,
    arguments::Verify,
    blocking,
    console::Console,
    document::Document,
    error::CliError,
    relying::{self, Required},
    report,
};

/// The report goes to standard output. What fails, and a required check that was not made, is an error.
pub(super) async fn run(
    arguments: Verify,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let required = Required::parse(&arguments.expectations.require)?;
    let trust = relying::trust(&arguments.trust)?;
    let expectations = relying::expectations(&arguments.expectations, &arguments.trust)?;
    let document = Document::read(&arguments.document, console.stdin)?;
    let now = context.clock.now();
    let report = blocking(move || {
        match &document {
            Document::Result(result) => verify(result, &trust, &expectations, now),
            Document::Evidence(bundle) => verify_bundle(bundle, &trust, &expectations, now),
        }
        .map_err(|error| failed(&error))
    })
    .await?;
    let enforced = required.enforce(&report);
    if console.json {
        console.value(&report::to_json(&report))?;
    } else {
        console.text(&report::to_text(&report))?;
    }
    enforced
}

/// A check that failed.
pub(super) fn failed(error: &VerifyError) -> CliError {
    let failed = CliError::failed("not-verified", error.to_string());
    match error {
        VerifyError::NoExpectedMeasurement { .. } => {
            failed.and("give --expect-measurement HEX, or --any-measurement")
        }
        _ => failed,
    }
}
