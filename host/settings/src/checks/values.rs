//! Values that several tables have.

use std::time::Duration;

use proplet_net::{Proxy, ProxyError};

use crate::{error::SettingsError, secret::Secret};

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
