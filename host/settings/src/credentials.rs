//! The second document: what lets this proplet in, and nothing else.
//!
//! Settings that are bound to a VM are public, and the same for every VM that is started with them. What
//! only this machine may know stands in a document of its own, which nobody measures. So it can only add
//! what the settings leave out. It cannot override them, and it has no name for anything that decides
//! whom this proplet trusts: the host that supplies it may lie in all of it and gains a connection that
//! is refused.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    document::{Document, path},
    error::{SettingsError, syntax_error},
    secret::Secret,
};

/// The credentials document as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Credentials {
    proplet: Proplet,
    mqtt: Mqtt,
    registry: Registry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Proplet {
    #[serde(alias = "client_key")]
    api_key: Option<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mqtt {
    #[serde(deserialize_with = "path")]
    client_cert: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    client_key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Registry {
    #[serde(deserialize_with = "path")]
    auth_file: Option<PathBuf>,
}

impl Credentials {
    pub(super) fn parse(text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| syntax_error("credentials document", text, &error))
    }

    /// Adds what the settings leave out.
    pub(super) fn complete(self, document: &mut Document) -> Result<(), SettingsError> {
        add(
            &mut document.proplet.api_key,
            self.proplet.api_key,
            "proplet",
            "api_key",
        )?;
        // A pair: half of it from each document would be a certificate with a stranger's key.
        let given = [&document.mqtt.client_cert, &document.mqtt.client_key];
        if given.iter().any(|path| path.is_some()) && self.mqtt.client_cert.is_some() {
            return Err(SettingsError::OverridingCredential {
                table: "mqtt",
                name: "client_cert",
            });
        }
        add(
            &mut document.mqtt.client_cert,
            self.mqtt.client_cert,
            "mqtt",
            "client_cert",
        )?;
        add(
            &mut document.mqtt.client_key,
            self.mqtt.client_key,
            "mqtt",
            "client_key",
        )?;
        let Some(auth_file) = self.registry.auth_file else {
            return Ok(());
        };
        add(
            &mut document.registry.get_or_insert_default().auth_file,
            Some(auth_file),
            "registry",
            "auth_file",
        )
    }
}

fn add<T>(
    there: &mut Option<T>,
    more: Option<T>,
    table: &'static str,
    name: &'static str,
) -> Result<(), SettingsError> {
    if there.is_some() && more.is_some() {
        return Err(SettingsError::OverridingCredential { table, name });
    }
    *there = there.take().or(more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ApiKey, ClientCertificate, Settings, environment::Environment};
    use super::*;

    fn settings(document: &str, credentials: &str) -> Result<Settings, SettingsError> {
        let environment = Environment::default();
        Settings::parse_with_credentials(Some(document), Some(credentials), &environment)
    }

    #[test]
    fn what_the_settings_leave_out_is_added() {
        let settings = settings(
            "[mqtt]\naddress = \"mqtts://broker\"\nca = \"/ca\"\n",
            "[proplet]\napi_key = \"k\"\n[mqtt]\nclient_cert = \"/c\"\nclient_key = \"/k\"\n[registry]\nauth_file = \"/a\"",
        )
        .unwrap();
        let api_key = settings.identity.api_key.unwrap();
        assert_eq!(api_key, ApiKey::Given(Secret::new("k")));
        let client = ClientCertificate::Files {
            certificate: "/c".into(),
            key: "/k".into(),
        };
        assert_eq!(settings.mqtt.client, Some(client));
        assert_eq!(settings.registry.auth_file, Some("/a".into()));
    }

    #[test]
    fn nothing_is_overridden() {
        for (document, credentials, name) in [
            (
                "[proplet]\napi_key = \"a\"",
                "[proplet]\napi_key = \"hunter2\"",
                "[proplet] api_key",
            ),
            (
                "[mqtt]\nclient_cert = \"/a\"\nclient_key = \"/b\"",
                "[mqtt]\nclient_key = \"/c\"",
                "[mqtt] client_key",
            ),
            (
                "[mqtt]\nclient_key = \"/b\"",
                "[mqtt]\nclient_cert = \"/c\"",
                "[mqtt] client_cert",
            ),
            (
                "[registry]\nauth_file = \"/a\"",
                "[registry]\nauth_file = \"/b\"",
                "[registry] auth_file",
            ),
        ] {
            let words = settings(document, credentials).unwrap_err().to_string();
            assert!(words.contains(name), "{words}");
            assert!(!words.contains("hunter2"), "{words}");
        }
    }

    #[test]
    fn it_has_no_name_for_anything_else() {
        for credentials in [
            "[kbs]\nurl = \"https://elsewhere\"",
            "[confidential]\nallow_unmeasured_settings = true",
            "[mqtt]\naddress = \"tcp://elsewhere\"",
            "[mqtt]\nca = \"/ca\"",
            "[registry]\nproxy = \"http://elsewhere\"",
            "[limits]\ntasks = 1",
            "[proplet]\nentity_id = \"me\"",
        ] {
            let error = settings("", credentials).unwrap_err();
            assert!(
                error.to_string().contains("credentials document"),
                "{error}"
            );
        }
    }

    #[test]
    fn its_key_stays_with_the_broker_of_the_settings() {
        let environment: Environment = [(
            "PROPLET_MQTT_ADDRESS".to_owned(),
            "mqtts://elsewhere".to_owned(),
        )]
        .into_iter()
        .collect();
        let error = Settings::parse_with_credentials(
            Some("[mqtt]\naddress = \"mqtts://broker\""),
            Some("[proplet]\napi_key = \"hunter2\""),
            &environment,
        )
        .unwrap_err();
        assert!(matches!(error, SettingsError::Override { .. }), "{error}");
    }
}
