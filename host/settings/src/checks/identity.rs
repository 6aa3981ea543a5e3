//! `[proplet]`: who this proplet is, and what it says of itself.

use std::time::Duration;

use proplet_types::ResourceUri;

use super::values;
use crate::{
    document,
    environment::Environment,
    error::SettingsError,
    sections::{About, ApiKey, PartialIdentity},
};

const API_KEY: [&str; 2] = ["PROPLET_API_KEY", "PROPLET_CLIENT_KEY"];

pub(crate) fn partial_identity(
    document: &document::Proplet,
    api_key_resource: Option<ResourceUri>,
    environment: &Environment,
) -> Result<PartialIdentity, SettingsError> {
    let topic_part = |name, names: &[&'static str], given: &Option<String>| {
        let part = environment.text(names).or_else(|| given.clone());
        match part {
            Some(part) if !is_topic_part(&part) => Err(values::wrong(
                environment,
                names,
                ("proplet", name),
                "a part of MQTT topics: at most 256 characters, no `/`, `+`, `#`, spaces or control characters",
            )),
            part => Ok(part),
        }
    };
    Ok(PartialIdentity {
        tenant: topic_part(
            "tenant_id",
            &["PROPLET_TENANT_ID", "PROPLET_DOMAIN_ID"],
            &document.tenant_id,
        )?,
        channel: topic_part("channel_id", &["PROPLET_CHANNEL_ID"], &document.channel_id)?,
        entity: topic_part(
            "entity_id",
            &["PROPLET_ENTITY_ID", "PROPLET_CLIENT_ID"],
            &document.entity_id,
        )?,
        api_key: environment
            .secret(&API_KEY)
            .or_else(|| document.api_key.clone())
            .filter(|key| !key.is_empty())
            .map(ApiKey::Given)
            .or(api_key_resource.map(ApiKey::Resource)),
    })
}

/// Whether the `api_key` in force is the document's.
pub(crate) fn owns_key(document: &document::Proplet, environment: &Environment) -> bool {
    let given = document.api_key.as_ref().is_some_and(|key| !key.is_empty())
        || document.api_key_resource.is_some();
    given && environment.secret(&API_KEY).is_none()
}

fn is_topic_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && !text.contains(|c: char| matches!(c, '/' | '+' | '#' | ' ') || c.is_control())
}

pub(crate) fn checked_heartbeat(
    document: &document::Proplet,
    environment: &Environment,
) -> Result<Duration, SettingsError> {
    const VARIABLE: &str = "PROPLET_LIVELINESS_INTERVAL";
    let seconds = environment
        .seconds(VARIABLE)?
        .or(document.heartbeat_seconds)
        .unwrap_or(5);
    match seconds {
        0 => Err(values::wrong(
            environment,
            &[VARIABLE],
            ("proplet", "heartbeat_seconds"),
            "at least 1 second",
        )),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

pub(crate) fn about(
    document: document::Proplet,
    environment: &Environment,
) -> Result<About, SettingsError> {
    let tags = match environment.text(&["PROPLET_TAGS"]) {
        Some(list) => list
            .split(',')
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect(),
        None => document.tags.unwrap_or_default(),
    };
    Ok(About {
        namespace: environment
            .text(&["PROPLET_MANAGER_K8S_NAMESPACE"])
            .or(document.namespace)
            .unwrap_or_else(|| "default".to_owned()),
        description: environment
            .text(&["PROPLET_DESCRIPTION"])
            .or(document.description),
        tags,
        location: environment
            .text(&["PROPLET_LOCATION"])
            .or(document.location),
        system_info: environment
            .switch("PROPLET_COLLECT_SYSTEM_INFO")?
            .or(document.collect_system_info)
            .unwrap_or(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn what_makes_no_sense_is_named_by_what_gave_it() {
        for (name, value, setting, written) in [
            ("PROPLET_TENANT_ID", "a/b", "tenant_id", "\"a/b\""),
            ("PROPLET_CLIENT_ID", "a#", "entity_id", "\"a#\""),
            ("PROPLET_LIVELINESS_INTERVAL", "0", "heartbeat_seconds", "0"),
        ] {
            let given = [(name.to_owned(), value.to_owned())].into_iter().collect();
            let error = Settings::parse(Some(""), &given).err().unwrap().to_string();
            assert!(
                error.starts_with(&format!("environment variable {name}: ")),
                "{error}"
            );
            let document = format!("[proplet]\n{setting} = {written}\n");
            let error = Settings::parse(Some(&document), &Environment::default());
            let error = error.err().unwrap().to_string();
            let start = format!("settings document, [proplet] {setting}: must be ");
            assert!(error.starts_with(&start), "{error}");
        }
    }
}
