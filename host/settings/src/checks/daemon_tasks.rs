//! `[daemon_tasks]`: how many daemons run, and what becomes of one that fails.

use std::time::Duration;

use crate::{
    document,
    error::SettingsError,
    sections::{DaemonTasks, Restart},
};

pub(crate) fn checked_daemon_tasks(
    document: document::DaemonTasks,
) -> Result<DaemonTasks, SettingsError> {
    let wrong = |name, why: &str| Err(SettingsError::value("daemon_tasks", name, why));
    let tasks = document.tasks.unwrap_or(4);
    if tasks > 256 {
        return wrong("tasks", "must be at most 256");
    }
    let is_on_failure = match document.restart.as_deref() {
        None | Some("never") => false,
        Some("on-failure") => true,
        Some(_) => return wrong("restart", "must be \"never\" or \"on-failure\""),
    };
    let restarts = document.restarts.unwrap_or(5);
    if !(1..=1000).contains(&restarts) {
        return wrong("restarts", "must be from 1 to 1000");
    }
    let delay = document.restart_delay_ms.unwrap_or(1000);
    if !(1..=60_000).contains(&delay) {
        return wrong("restart_delay_ms", "must be from 1 to 60000");
    }
    Ok(DaemonTasks {
        tasks,
        restart: match is_on_failure {
            true => Restart::OnFailure,
            false => Restart::Never,
        },
        restarts,
        restart_delay: Duration::from_millis(delay),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, environment::Environment};

    fn parsed(text: &str) -> Result<DaemonTasks, SettingsError> {
        let text = format!("[daemon_tasks]\n{text}");
        let settings = Settings::parse(Some(&text), &Environment::default());
        settings.map(|settings| settings.daemon_tasks)
    }

    #[test]
    fn what_fails_is_not_started_again_unless_it_is_written() {
        assert_eq!(parsed("").unwrap().restart, Restart::Never);
        let never = parsed("restart = \"never\"").unwrap();
        assert_eq!(never.restart, Restart::Never);
        let again = parsed("restart = \"on-failure\"\nrestart_delay_ms = 20").unwrap();
        assert_eq!(again.restart, Restart::OnFailure);
        assert_eq!(again.restart_delay, Duration::from_millis(20));
        let error = parsed("restart = \"always\"").unwrap_err().to_string();
        assert!(
            error.contains("restart") && error.contains("on-failure"),
            "{error}"
        );
    }
}
