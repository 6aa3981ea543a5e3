//! The init-data document that settings may stand in.

use proplet_hal::init_data::InitData;

use crate::{document::Document, error::SettingsError, secret::Secret};

/// Name of the settings document among the files of an init-data document.
pub const SETTINGS_FILE: &str = "proplet.toml";

/// The settings document in what was given, and the init-data document around it, if there is one.
pub(crate) fn unwrap(text: &str) -> Result<(String, Option<InitData>), SettingsError> {
    if !InitData::is_meant_by(text) {
        return Ok((text.to_owned(), None));
    }
    let init_data = InitData::parse(text)?;
    match init_data.file(SETTINGS_FILE) {
        Some(settings) => Ok((settings.to_owned(), Some(init_data))),
        None => Err(SettingsError::NoSettingsInside),
    }
}

/// Refuses a document that holds what only its owner may know.
pub(crate) fn refuse_credentials(document: &Document) -> Result<(), SettingsError> {
    let credential = |table, name| Err(SettingsError::PublicCredential { table, name });
    if document.proplet.api_key.is_some() {
        return credential("proplet", "api_key");
    }
    let has_password = |proxy: &Option<Secret>| {
        proxy
            .as_ref()
            .is_some_and(|address| address.expose().contains('@'))
    };
    if document
        .registry
        .as_ref()
        .is_some_and(|registry| has_password(&registry.proxy))
    {
        return credential("registry", "proxy");
    }
    if document
        .kbs
        .as_ref()
        .is_some_and(|kbs| has_password(&kbs.proxy))
    {
        return credential("kbs", "proxy");
    }
    Ok(())
}
