//! `[kbs]`: the key broker.

use url::Url;

use super::{
    component_bound,
    values::{proxy, seconds},
};
use crate::{document, error::SettingsError, sections::Kbs};

pub(crate) fn checked_kbs(document: document::Kbs) -> Result<Kbs, SettingsError> {
    let component_bound = component_bound::check(&document)?;
    let url = Url::parse(&document.url).map_err(|error| {
        SettingsError::value("kbs", "url", format!("it is not an address: {error}"))
    })?;
    match url.scheme() {
        "https" => {}
        "http" if document.allow_http => {}
        "http" => {
            return Err(SettingsError::value(
                "kbs",
                "url",
                "plain http lets the network pose as the key broker: use https, or write \
                 `allow_http = true`",
            ));
        }
        _ => {
            return Err(SettingsError::value(
                "kbs",
                "url",
                "it must start with https://",
            ));
        }
    }
    if !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::value(
            "kbs",
            "url",
            "it must have a host and no user name",
        ));
    }
    Ok(Kbs {
        url,
        proxy: proxy("kbs", document.proxy.as_ref(), &[])?,
        ca_pem: document.ca_pem,
        allow_http: document.allow_http,
        component_bound,
        timeout: seconds("kbs", document.timeout_seconds, 30)?,
    })
}
