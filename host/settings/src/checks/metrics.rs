//! `[metrics]`: what is said about the use of this machine, unasked.
//!
//! How much processor time and memory this process has used says nothing about anybody where only plain tasks run. Where
//! an encrypted task runs it is a side channel: whoever may read the channel of the broker would see the task at work,
//! and its owner was not asked. So there nothing is said unless the document says that it is to be, which every verifier
//! can see, and the environment, which nobody measures, can ask for less and not for more.

use std::time::Duration;

use crate::{document, environment::Environment, error::SettingsError, sections::Metrics};

/// Seconds between messages, unless somebody says otherwise: upstream's.
const INTERVAL: u64 = 10;
/// Seconds between messages about a task, at least, and unless the document says otherwise.
const TASK_FLOOR: u64 = 1;
/// Seconds between messages, at most.
const MOST: u64 = 86_400;

const VARIABLE: &str = "PROPLET_METRICS_INTERVAL";
const SWITCH: &str = "PROPLET_ENABLE_MONITORING";

/// What is in force, and a line for the log when the environment asks for what it cannot have.
pub(crate) fn checked_metrics(
    document: &document::Metrics,
    takes_encrypted_tasks: bool,
    environment: &Environment,
) -> Result<(Metrics, Option<String>), SettingsError> {
    let task_floor = document.task_floor_seconds.unwrap_or(TASK_FLOOR);
    if !(TASK_FLOOR..=MOST).contains(&task_floor) {
        let why = format!("must be from {TASK_FLOOR} to {MOST}");
        return Err(SettingsError::value("metrics", "task_floor_seconds", why));
    }
    let metrics = |seconds: u64| Metrics {
        interval: (seconds > 0).then(|| Duration::from_secs(seconds)),
        tasks: document.tasks.unwrap_or(true),
        task_floor: Duration::from_secs(task_floor),
    };
    let documented = document.interval_seconds;
    if documented.is_some_and(|seconds| seconds > MOST) {
        let why = format!("must be from 0, which is none, to {MOST}");
        return Err(SettingsError::value("metrics", "interval_seconds", why));
    }
    let usual = if takes_encrypted_tasks { 0 } else { INTERVAL };
    let own = documented.unwrap_or(usual);
    let Asked { seconds, name } = match asked(environment)? {
        Some(asked) => asked,
        None => return Ok((metrics(own), None)),
    };
    let asked = seconds.unwrap_or(documented.unwrap_or(INTERVAL));
    let is_less = asked == 0 || (own > 0 && asked >= own);
    if is_less || !takes_encrypted_tasks {
        return Ok((metrics(asked), None));
    }
    let notice = format!(
        "{name} is ignored: this host takes encrypted tasks, and what it uses shows them at work; set [metrics] \
         interval_seconds in the settings document"
    );
    Ok((metrics(own), Some(notice)))
}

/// What the environment asks for.
struct Asked {
    /// Seconds, where it says how many.
    seconds: Option<u64>,
    /// The variable that asks.
    name: &'static str,
}

fn asked(environment: &Environment) -> Result<Option<Asked>, SettingsError> {
    let interval = environment.seconds("PROPLET_METRICS_INTERVAL")?;
    if interval.is_some_and(|seconds| seconds > MOST) {
        return Err(SettingsError::Variable {
            name: VARIABLE,
            expected: "a time from 0, which is none, to 86400 seconds",
        });
    }
    let is_on = environment.switch("PROPLET_ENABLE_MONITORING")?;
    Ok(match (is_on, interval) {
        (Some(false), _) => Some(Asked {
            seconds: Some(0),
            name: SWITCH,
        }),
        (_, Some(seconds)) => Some(Asked {
            seconds: Some(seconds),
            name: VARIABLE,
        }),
        (Some(true), None) => Some(Asked {
            seconds: None,
            name: SWITCH,
        }),
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds in force, and the name in the notice.
    fn checked(
        documented: Option<u64>,
        takes_encrypted_tasks: bool,
        variables: &[(&str, &str)],
    ) -> (u64, Option<String>) {
        let document = document::Metrics {
            interval_seconds: documented,
            ..document::Metrics::default()
        };
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (metrics, notice) =
            checked_metrics(&document, takes_encrypted_tasks, &environment).unwrap();
        let name = notice.map(|notice| notice.split(' ').next().unwrap().to_owned());
        (
            metrics.interval.map_or(0, |interval| interval.as_secs()),
            name,
        )
    }

    #[test]
    fn where_only_plain_tasks_run_the_environment_decides_as_with_upstream() {
        for (documented, variables, wanted) in [
            (None, &[][..], 10),
            (None, &[(VARIABLE, "30s")], 30),
            (None, &[(VARIABLE, "0")], 0),
            (None, &[(SWITCH, "false")], 0),
            (None, &[(SWITCH, "true")], 10),
            (None, &[(VARIABLE, "5"), (SWITCH, "no")], 0),
            (None, &[(VARIABLE, "5"), (SWITCH, "on")], 5),
            (Some(7), &[], 7),
            (Some(0), &[], 0),
            (Some(7), &[(VARIABLE, "3")], 3),
            (Some(7), &[(SWITCH, "true")], 7),
        ] {
            let found = checked(documented, false, variables);
            assert_eq!(found, (wanted, None), "{documented:?} {variables:?}");
        }
    }

    #[test]
    fn where_encrypted_tasks_run_the_document_decides_and_the_environment_may_ask_for_less() {
        for (documented, variables, wanted, named) in [
            (None, &[][..], 0, None),
            (None, &[(VARIABLE, "10")], 0, Some(VARIABLE)),
            (None, &[(SWITCH, "true")], 0, Some(SWITCH)),
            (None, &[(VARIABLE, "0")], 0, None),
            (None, &[(SWITCH, "false")], 0, None),
            (Some(10), &[], 10, None),
            (Some(10), &[(VARIABLE, "1")], 10, Some(VARIABLE)),
            (Some(10), &[(VARIABLE, "60")], 60, None),
            (Some(10), &[(SWITCH, "true")], 10, None),
            (Some(10), &[(SWITCH, "false")], 0, None),
            (Some(0), &[(VARIABLE, "60")], 0, Some(VARIABLE)),
        ] {
            let found = checked(documented, true, variables);
            let named = named.map(str::to_owned);
            assert_eq!(found, (wanted, named), "{documented:?} {variables:?}");
        }
    }

    #[test]
    fn tasks_are_told_about_unless_the_document_says_otherwise() {
        for (tasks, takes_encrypted_tasks, wanted) in [
            (None, false, true),
            (None, true, true),
            (Some(true), true, true),
            (Some(false), false, false),
        ] {
            let document = document::Metrics {
                tasks,
                task_floor_seconds: Some(7),
                ..document::Metrics::default()
            };
            // These are about the process alone, as upstream's.
            let off = [(SWITCH.to_owned(), "false".to_owned())];
            let environment = off.into_iter().collect();
            let (metrics, _) =
                checked_metrics(&document, takes_encrypted_tasks, &environment).unwrap();
            assert_eq!(metrics.tasks, wanted);
            assert_eq!(metrics.task_floor, Duration::from_secs(7));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_that_names_its_variable() {
        let document = document::Metrics::default();
        for (name, value) in [
            (VARIABLE, "86401"),
            (VARIABLE, "soon"),
            (VARIABLE, "-1"),
            (SWITCH, "maybe"),
        ] {
            let environment = [(name.to_owned(), value.to_owned())].into_iter().collect();
            for takes_encrypted_tasks in [false, true] {
                let error = checked_metrics(&document, takes_encrypted_tasks, &environment);
                let error = error.unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
        }
    }
}
