//! `[registry]`: where images may come from.

use proplet_types::ResourceUri;

use super::values::{proxy, seconds};
use crate::{
    document,
    error::SettingsError,
    sections::{AllowList, ImageSources},
};

pub(crate) fn checked_registry(
    document: document::Registry,
    auth_resource: Option<ResourceUri>,
) -> Result<ImageSources, SettingsError> {
    let folders = |entry: &String| !entry.trim_end_matches("/*").contains('*');
    if !document.repositories.iter().all(folders) {
        return Err(SettingsError::value(
            "registry",
            "repositories",
            "`*` may only stand at the end, as `/*`",
        ));
    }
    let proxy = proxy("registry", document.proxy.as_ref(), &document.no_proxy)?;
    if proxy.is_none() && !document.no_proxy.is_empty() {
        return Err(SettingsError::value(
            "registry",
            "no_proxy",
            "it says what goes around the proxy, and there is none: set proxy too",
        ));
    }
    Ok(ImageSources {
        proxy,
        auth_file: document.auth_file,
        auth_resource,
        http_hosts: document.http_hosts,
        private_hosts: document.private_hosts,
        ca: document.ca,
        max_layer_bytes: document.max_layer_bytes.unwrap_or(128 * 1024 * 1024),
        timeout: seconds("registry", document.timeout_seconds, 120)?,
        allowed: AllowList {
            registries: document.registries.into_iter().collect(),
            repositories: document.repositories.into_iter().collect(),
        },
    })
}
