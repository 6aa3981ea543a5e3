//! `proplet verify`: evidence or a sealed result, offline and without any key.

use proplet_hal::{
    snp::SnpError,
    tdx::{TcbStatus, TdxError, time},
    verify::AppraisalError,
};
use proplet_results::verify::{VerifyError, verify, verify_bundle};
use proplet_types::Code;

use super::{
    arguments::Verify,
    blocking::blocking,
    console::Console,
    context::Context,
    document::Document,
    error::CliError,
    explain, files,
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
    let values = relying::reference_values(&arguments.trust)?;
    let trust = relying::trust(&arguments.trust, values.as_ref())?;
    let expectations =
        relying::expectations(&arguments.expectations, &arguments.trust, values.as_ref())?;
    let expected = expectations.clone();
    let document = Document::read(&arguments.document, console.stdin)?;
    let now = relying::moment(&arguments.trust, context);
    let mut report = blocking(move || {
        match &document {
            Document::Result(result) => verify(result, &trust, &expectations, now),
            Document::Evidence(bundle) => verify_bundle(bundle, &trust, &expectations, now),
        }
        .map_err(|error| failed(&error))
    })
    .await?;
    relying::note_moment(&arguments.trust, &mut report);
    let enforced = required.enforce(&report);
    let tree = explain::tree(&report, &expected);
    if let Some(path) = &arguments.html {
        let title = format!("Verification of {}", arguments.document.display());
        let version = env!("CARGO_PKG_VERSION");
        let foot = format!("Judged as of {} by proplet {version}.", time::shown(now));
        files::write_public(path, explain::page(&title, &foot, &tree).as_bytes())?;
    }
    if console.json {
        console.value(&report::to_json(&report))?;
    } else if arguments.explain {
        console.text(&explain::text(&tree))?;
    } else {
        console.text(&report::to_text(&report))?;
    }
    enforced
}

/// A check that failed, with the option that bears on it.
pub(super) fn failed(error: &VerifyError) -> CliError {
    let failed = CliError::new(Code::NotVerified, error.to_string());
    match option_for(error) {
        Some(option) => failed.and(option),
        None => failed,
    }
}

fn option_for(error: &VerifyError) -> Option<&'static str> {
    match error {
        VerifyError::NoExpectedMeasurement { .. } => Some(
            "give --expect-measurement HEX, --reference-values FILE with measurements, or --any-measurement",
        ),
        VerifyError::NoExpectedRegister { .. } => Some(
            "give --expect-rtmr1 HEX and --expect-rtmr2 HEX, --reference-values FILE with rtmr1 and rtmr2, or \
             --any-measurement",
        ),
        VerifyError::Debug => Some("--allow-debug allows them"),
        VerifyError::Evidence(AppraisalError::SampleRefused) => Some("--accept-sample accepts it"),
        VerifyError::Evidence(AppraisalError::Snp(error)) => match error {
            SnpError::ReportVersion { version: 2, .. } => {
                Some("--allow-report-v2 accepts reports that do not name the CPU")
            }
            SnpError::CertificateTime { .. } => {
                Some("--at TIME judges as of a time when it was valid")
            }
            SnpError::UnknownIssuer { .. } => Some("--roots FILE gives other roots"),
            SnpError::NoTcbFloor { .. } => Some("--min-tcb CPU:COMPONENT=N gives one for a CPU"),
            SnpError::NoRevocationList { .. } => Some("--crl FILE gives another list"),
            SnpError::RevocationListExpired { .. } => {
                Some("--at TIME judges as of a time when it was good")
            }
            _ => None,
        },
        VerifyError::Evidence(AppraisalError::Tdx(error)) => match error {
            TdxError::CollateralTime { .. } | TdxError::CertificateTime { .. } => {
                Some("--at TIME judges as of a time when it was valid")
            }
            TdxError::TcbStatus { status, .. } if *status != TcbStatus::Revoked => {
                Some("--allow-tcb-status STATUS accepts a status")
            }
            TdxError::Chain { .. } => Some("--roots FILE gives another root"),
            _ => None,
        },
        _ => None,
    }
}
