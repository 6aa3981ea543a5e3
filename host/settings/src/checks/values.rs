//! Values that several tables have.

use std::time::Duration;

use proplet_net::{Proxy, ProxyError};

use crate::{environment::Environment, error::SettingsError, secret::Secret};

/// A value that makes no sense, where the environment goes before the document: of the first of these variables that is
/// set, or else of the document.
pub(super) fn wrong(
    environment: &Environment,
    variables: &[&'static str],
    (table, name): (&'static str, &'static str),
    expected: &'static str,
) -> SettingsError {
    match environment.named(variables) {
        Some(name) => SettingsError::Variable { name, expected },
        None => SettingsError::value(table, name, format!("must be {expected}")),
    }
}

pub(super) fn proxy(
    table: &'static str,
    given: Option<&Secret>,
    except: &[String],
) -> Result<Option<Proxy>, SettingsError> {
    let checked = given.map(|address| Proxy::new(address.expose(), except));
    checked.transpose().map_err(|error| {
        let name = match error {
            ProxyError::Exception(_) => "no_proxy",
            _ => "proxy",
        };
        SettingsError::value(table, name, error.to_string())
    })
}

pub(super) fn seconds(
    table: &'static str,
    given: Option<u64>,
    default: u64,
) -> Result<Duration, SettingsError> {
    match given.unwrap_or(default) {
        seconds @ 1..=3600 => Ok(Duration::from_secs(seconds)),
        _ => Err(SettingsError::value(
            table,
            "timeout_seconds",
            "must be from 1 to 3600",
        )),
    }
}
