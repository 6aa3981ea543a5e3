//! What a relying party believes and expects, from the command line.

use std::{path::Path, time::SystemTime};

use proplet_daemon::message;
use proplet_hal::{
    InitData,
    init_data::MAX_INIT_DATA_BYTES,
    reference_values::{self, ReferenceValues},
    verify::{TeeTrust, TrustPolicy},
};
use proplet_jose::json as strict;
use proplet_results::{
    digest::of_inputs,
    verify::{CheckOutcome, Expectations, ExpectedInvocation, ExpectedMeasurement, Report},
};
use proplet_settings::init_data::SETTINGS_FILE;
use proplet_types::{Check, Code, Digest};
use serde_json::Value;

use super::{
    arguments::{Expected, Trust},
    context::Context,
    error::CliError,
    files, snp, tdx, trusted,
};

/// Stands for every check that applies.
const ALL: &str = "all";

/// Whose evidence is believed.
pub(super) fn trust(
    arguments: &Trust,
    values: Option<&ReferenceValues>,
) -> Result<TrustPolicy, CliError> {
    let (snp_roots, tdx_root) = trusted::roots(arguments.roots.as_deref())?;
    let mut policy = TrustPolicy::nothing();
    // Of a TEE that the file has no table for, nothing is known.
    if values.is_none_or(|values| values.snp.is_some()) {
        let values = values.and_then(|values| values.snp.as_ref());
        let snp = snp::trust(&arguments.snp, values, snp_roots)?;
        policy = policy.and(TeeTrust::Snp(Box::new(snp)));
    }
    if values.is_none_or(|values| values.tdx.is_some()) {
        let values = values.and_then(|values| values.tdx.as_ref());
        let tdx = tdx::trust(&arguments.tdx, values, tdx_root)?;
        policy = policy.and(TeeTrust::Tdx(Box::new(tdx)));
    }
    Ok(if arguments.accept_sample {
        policy.accepting_sample_evidence_that_proves_nothing()
    } else {
        policy
    })
}

/// The file of reference values, if one was named.
pub(super) fn reference_values(arguments: &Trust) -> Result<Option<ReferenceValues>, CliError> {
    let Some(path) = &arguments.reference_values else {
        return Ok(None);
    };
    let limit = reference_values::MAX_LEN as u64;
    let text = files::read_text("reference values", path, limit)?;
    let values = ReferenceValues::from_toml(&text);
    values
        .map(Some)
        .map_err(|error| CliError::input("reference values", path, error))
}

/// As of when certificates are judged: now, unless another time was asked for.
pub(super) fn moment(arguments: &Trust, context: &Context) -> SystemTime {
    match arguments.at {
        Some(at) => at.into(),
        None => context.clock.now(),
    }
}

/// Says in the report that it is not about now.
pub(super) fn note_moment(arguments: &Trust, report: &mut Report) {
    if let Some(at) = arguments.at {
        report.warnings.push(format!(
            "JUDGED AS OF {at}, as was asked: what expired or was revoked since then passes, and a key \
             that leaked since then can have signed it"
        ));
    }
}

/// What is expected.
pub(super) fn expectations(
    arguments: &Expected,
    trust: &Trust,
    values: Option<&ReferenceValues>,
) -> Result<Expectations, CliError> {
    let inputs = match &arguments.inputs {
        Some(path) => {
            let inputs = read_inputs(path)?;
            Some(of_inputs(&inputs).map_err(|error| CliError::input("inputs", path, error))?)
        }
        None => None,
    };
    let recipients = &arguments.expect_recipient;
    let (init_data, settings) = match &arguments.init_data {
        Some(path) => bound(path)?,
        None => {
            let bytes = arguments.expect_init_data.as_ref();
            (
                bytes.map(|bytes| bytes.0.clone()),
                arguments.expect_settings,
            )
        }
    };
    Ok(Expectations {
        measurement: measurement(arguments, values),
        tdx: tdx::expectations(
            &arguments.tdx,
            values.and_then(|values| values.tdx.as_ref()),
        ),
        init_data,
        settings,
        challenge: arguments
            .expect_challenge
            .as_ref()
            .map(|bytes| bytes.0.clone()),
        component: arguments.expect_component,
        image: arguments.expect_image,
        policy: arguments.expect_policy,
        task_id: arguments.expect_task.clone(),
        invocation: invocation(arguments),
        export: arguments.expect_export.clone(),
        inputs,
        arguments: arguments.expect_arguments,
        environment: arguments.expect_environment,
        recipients: (!recipients.is_empty()).then(|| recipients.clone()),
        allow_debug: trust.allow_debug,
    })
}

/// Which run of the task, if that was said.
fn invocation(arguments: &Expected) -> Option<ExpectedInvocation> {
    let id = arguments.expect_invocation.clone();
    let absent = arguments.expect_no_invocation;
    id.map(ExpectedInvocation::Id)
        .or_else(|| absent.then_some(ExpectedInvocation::Absent))
}

/// What an init-data document says: the binding, and the digest of the settings in it.
fn bound(path: &Path) -> Result<(Option<Vec<u8>>, Option<Digest>), CliError> {
    let text = files::read_text("init-data", path, MAX_INIT_DATA_BYTES as u64)?;
    let document =
        InitData::parse(&text).map_err(|error| CliError::input("init-data", path, error))?;
    let Some(settings) = document.file(SETTINGS_FILE) else {
        return Err(CliError::input(
            "init-data",
            path,
            format!(
                "it holds no {SETTINGS_FILE}, so it says nothing about the settings; give its digest \
                 with --expect-init-data instead"
            ),
        ));
    };
    Ok((
        Some(document.digest()),
        Some(Digest::of(settings.as_bytes())),
    ))
}

/// None is expected unless one is named, and then nothing verifies. Those that are typed take the place of the
/// file's.
fn measurement(arguments: &Expected, values: Option<&ReferenceValues>) -> ExpectedMeasurement {
    if arguments.any_measurement {
        return ExpectedMeasurement::Any;
    }
    let typed = arguments.expect_measurement.iter();
    let typed: Vec<Vec<u8>> = typed.map(|bytes| bytes.0.clone()).collect();
    let listed = values.and_then(ReferenceValues::measurements);
    match listed {
        Some(listed) if typed.is_empty() => ExpectedMeasurement::OneOf(listed),
        _ => ExpectedMeasurement::OneOf(typed),
    }
}

/// The checks that must have been made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Required {
    all: bool,
    checks: Vec<Check>,
}

impl Required {
    /// Hyphens in names of checks may be written as spaces or underscores.
    pub(super) fn parse(names: &[String]) -> Result<Self, CliError> {
        let mut required = Self {
            all: false,
            checks: Vec::new(),
        };
        for name in names {
            let wanted = name.trim().to_lowercase().replace([' ', '_'], "-");
            if wanted == ALL {
                required.all = true;
            } else if let Ok(check) = wanted.parse() {
                required.checks.push(check);
            } else {
                let all: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
                return Err(CliError::usage(format!(
                    "--require: there is no check {name:?}; there are {} and {ALL}",
                    all.join(", ")
                )));
            }
        }
        Ok(required)
    }

    /// Refuses a report in which a required check was not made. When all are, a warning is as bad: it
    /// tells of something that passed and protects nothing.
    pub(super) fn enforce(&self, report: &Report) -> Result<(), CliError> {
        let mut missing: Vec<String> = Vec::new();
        for &check in &self.checks {
            match report.check(check) {
                Some(CheckOutcome::Verified) => {}
                Some(CheckOutcome::NotVerified(why)) => missing.push(format!("{check} ({why})")),
                None => missing.push(format!("{check} (it does not apply here)")),
            }
        }
        if self.all {
            for (check, why) in report.not_verified_checks() {
                if !self.checks.contains(&check) {
                    missing.push(format!("{check} ({why})"));
                }
            }
            missing.extend(report.warnings.iter().map(|w| format!("no warnings ({w})")));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(CliError::new(
            Code::NotVerified,
            format!("required, and not verified: {}", missing.join(", ")),
        ))
    }
}

/// The inputs as a host would read them, from an array or from a start message.
fn read_inputs(path: &Path) -> Result<Vec<String>, CliError> {
    let text = files::read("inputs", path, files::MAX_DOCUMENT_BYTES)?;
    let bad = |error: &dyn std::fmt::Display| CliError::input("inputs", path, error);
    let inputs = match strict::value(&text).map_err(|error| bad(&error))? {
        Value::Object(mut members) => members
            .remove("inputs")
            .ok_or_else(|| bad(&"it is neither an array nor a start message with `inputs`"))?,
        value => value,
    };
    if !inputs.is_array() {
        return Err(bad(&"the inputs are not an array"));
    }
    // The host's own reader decides what a number's text is.
    message::read_inputs(inputs).map_err(|error| bad(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(text: &str) -> Result<Vec<String>, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_inputs(file.path())
    }

    #[test]
    fn inputs_are_read_as_a_host_reads_them() {
        assert_eq!(inputs(r#"["a", 7, 1.5]"#).unwrap(), ["a", "7", "1.5"]);
        assert_eq!(inputs(r#"{"id": "t", "inputs": [10]}"#).unwrap(), ["10"]);
        for bad in [
            "7",
            r#"{"id": "t"}"#,
            "[[]]",
            "[null]",
            "nonsense",
            r#"{"inputs": "a"}"#,
        ] {
            assert!(inputs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_checks_may_have_spaces() {
        let names = ["task-id", "Init data", "receipt_key", "All"].map(str::to_owned);
        let required = Required::parse(&names).unwrap();
        assert_eq!(
            required.checks,
            [Check::TaskId, Check::InitData, Check::ReceiptKey]
        );
        assert!(required.all);
        let error = Required::parse(&["measurements".to_owned()]).unwrap_err();
        assert!(error.words().contains("receipt-key"), "{error:?}");
    }
}
