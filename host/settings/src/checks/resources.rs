//! Credentials that are resources of the key broker.
//!
//! They let this host in elsewhere, or seal what it has on disk, so they are of a type of their own that no component is
//! ever given ([`HOST_CREDENTIAL_TYPE`]). A document that names one takes that credential from nowhere else: neither from a file
//! nor from the environment, which the host of a VM may have written.

use proplet_types::{HOST_CREDENTIAL_TYPE, ResourceUri};

use crate::{document::Document, environment::Environment, error::SettingsError};

/// The addresses that a document gives.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    pub api_key: Option<ResourceUri>,
    pub client_key: Option<ResourceUri>,
    pub auth: Option<ResourceUri>,
    pub sealing_root: Option<ResourceUri>,
}

/// Checks the addresses, and that each credential has one source.
pub(crate) fn checked_resources(
    document: &Document,
    environment: &Environment,
) -> Result<Resources, SettingsError> {
    let Document {
        proplet,
        mqtt,
        registry,
        ..
    } = document;
    let registry = registry.as_ref();
    let auth = registry.and_then(|registry| registry.auth_resource.clone());
    let has_kbs = document.kbs.is_some();
    let sealing_root = &document.outbox.sealing_root_resource;
    let parsed = |table, name, given: &Option<String>| match given {
        Some(text) => address(table, name, text, has_kbs).map(Some),
        None => Ok(None),
    };
    let resources = Resources {
        api_key: parsed("proplet", "api_key_resource", &proplet.api_key_resource)?,
        client_key: parsed("mqtt", "client_key_resource", &mqtt.client_key_resource)?,
        auth: parsed("registry", "auth_resource", &auth)?,
        sealing_root: parsed("outbox", "sealing_root_resource", sealing_root)?,
    };
    let twice = |table, name, other: &str| {
        let why = format!("there is {other} too, and a credential has one source: remove one");
        Err(SettingsError::value(table, name, why))
    };
    if resources.api_key.is_some() {
        if proplet.api_key.is_some() {
            return twice("proplet", "api_key_resource", "[proplet] api_key");
        }
        if let Some(name) = environment.named(&["PROPLET_API_KEY", "PROPLET_CLIENT_KEY"]) {
            return environment_too(name, "[proplet] api_key_resource");
        }
        if mqtt.address.is_none() {
            return Err(SettingsError::value(
                "proplet",
                "api_key_resource",
                "the key would go to whatever broker the environment names: write [mqtt] address as well",
            ));
        }
    }
    if resources.client_key.is_some() {
        if mqtt.client_key.is_some() {
            return twice("mqtt", "client_key_resource", "[mqtt] client_key");
        }
        if let Some(name) = environment.named(&["PROPLET_MQTT_TLS_CLIENT_KEY"]) {
            return environment_too(name, "[mqtt] client_key_resource");
        }
    }
    if resources.auth.is_some() && registry.is_some_and(|registry| registry.auth_file.is_some()) {
        return twice("registry", "auth_resource", "[registry] auth_file");
    }
    Ok(resources)
}

fn environment_too<T>(name: &'static str, setting: &str) -> Result<T, SettingsError> {
    let why = format!(
        "{setting} of the settings document names a resource of the key broker: unset the variable"
    );
    Err(SettingsError::Override { name, why })
}

fn address(
    table: &'static str,
    name: &'static str,
    text: &str,
    has_kbs: bool,
) -> Result<ResourceUri, SettingsError> {
    let uri: ResourceUri = text
        .parse()
        .map_err(|error| SettingsError::value(table, name, format!("{error}")))?;
    if uri.resource_type() != HOST_CREDENTIAL_TYPE {
        return Err(SettingsError::value(
            table,
            name,
            format!(
                "a credential of the host must be of the type {HOST_CREDENTIAL_TYPE}, which no component is given: \
                 store it as kbs:///repository/{HOST_CREDENTIAL_TYPE}/tag"
            ),
        ));
    }
    if !has_kbs {
        return Err(SettingsError::value(
            table,
            name,
            "it is a resource of the key broker, and there is none: set [kbs] url",
        ));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ApiKey, ClientCertificate, Settings};

    const KBS: &str = "[kbs]\nurl = \"https://kbs\"\n";
    const API_KEY: &str = "[proplet]\napi_key_resource = \"kbs:///p/host-credential/mqtt\"\n";
    const BROKER: &str = "[mqtt]\naddress = \"mqtts://broker\"\n";

    fn settings(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::parse(Some(text), &environment).map_err(|error| error.to_string())
    }

    fn refused(text: &str, variables: &[(&str, &str)], words: &[&str]) {
        let error = settings(text, variables).unwrap_err();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn each_credential_can_be_a_resource() {
        let text = format!(
            "{API_KEY}tenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"e\"\n{BROKER}\
             client_cert = \"/c\"\nclient_key_resource = \"kbs:///p/host-credential/tls\"\n\
             [registry]\nauth_resource = \"kbs:///p/host-credential/docker\"\n{KBS}"
        );
        let settings = settings(&text, &[]).unwrap();
        let uri = |tag: &str| format!("kbs:///p/host-credential/{tag}").parse().unwrap();
        assert_eq!(
            settings.identity().unwrap().api_key,
            ApiKey::Resource(uri("mqtt"))
        );
        let client = ClientCertificate::Resource {
            certificate: Some("/c".into()),
            key: uri("tls"),
        };
        assert_eq!(settings.mqtt.client, Some(client));
        assert_eq!(settings.registry.auth_resource, Some(uri("docker")));
    }

    #[test]
    fn the_sealing_root_is_a_resource_for_a_store() {
        let root = "sealing_root_resource = \"kbs:///p/host-credential/outbox\"\n";
        let store = "path = \"/var/lib/proplet/outbox\"\n";
        let text = format!("{KBS}[outbox]\n{store}{root}");
        let outbox = settings(&text, &[]).unwrap().outbox;
        let uri = "kbs:///p/host-credential/outbox".parse().unwrap();
        assert_eq!(outbox.sealing_root, Some(uri));
        // Named or not, what may be on the disk is another setting's.
        assert!(!outbox.plain_results);
        let names = |words| ["[outbox] sealing_root_resource", words];
        refused(&format!("{KBS}[outbox]\n{root}"), &[], &names("set path"));
        refused(
            &format!("[outbox]\n{store}{root}"),
            &[],
            &names("[kbs] url"),
        );
        for (kind, words) in [
            ("key", "host-credential"),
            ("data", "host-credential"),
            ("HOST-credential", "host-credential"),
        ] {
            let root = format!("sealing_root_resource = \"kbs:///p/{kind}/outbox\"\n");
            refused(&format!("{KBS}[outbox]\n{store}{root}"), &[], &names(words));
        }
        let short = "sealing_root_resource = \"kbs:///outbox\"\n";
        refused(
            &format!("{KBS}[outbox]\n{store}{short}"),
            &[],
            &names("three segments"),
        );
    }

    #[test]
    fn a_credential_has_one_source() {
        for (text, words) in [
            (
                format!("{API_KEY}api_key = \"hunter2\"\n{BROKER}{KBS}"),
                "[proplet] api_key",
            ),
            (
                format!(
                    "{BROKER}client_key = \"/k\"\nclient_key_resource = \"kbs:///p/host-credential/k\"\n{KBS}"
                ),
                "[mqtt] client_key",
            ),
            (
                format!(
                    "[registry]\nauth_file = \"/a\"\nauth_resource = \"kbs:///p/host-credential/a\"\n{KBS}"
                ),
                "[registry] auth_file",
            ),
        ] {
            refused(&text, &[], &[words, "one source"]);
        }
        let text = format!("{API_KEY}{BROKER}{KBS}");
        for name in ["PROPLET_API_KEY", "PROPLET_CLIENT_KEY"] {
            refused(&text, &[(name, "hunter2")], &[name, "unset"]);
        }
        let text = format!("{BROKER}client_key_resource = \"kbs:///p/host-credential/k\"\n{KBS}");
        let name = "PROPLET_MQTT_TLS_CLIENT_KEY";
        refused(&text, &[(name, "/run/hunter2")], &[name, "unset"]);
    }

    #[test]
    fn the_credentials_document_overrides_none() {
        for (text, credentials) in [
            (
                format!("{API_KEY}{BROKER}{KBS}"),
                "[proplet]\napi_key = \"hunter2\"",
            ),
            (
                format!("{BROKER}client_key_resource = \"kbs:///p/host-credential/k\"\n{KBS}"),
                "[mqtt]\nclient_key = \"/run/hunter2\"",
            ),
            (
                format!("[registry]\nauth_resource = \"kbs:///p/host-credential/a\"\n{KBS}"),
                "[registry]\nauth_file = \"/run/hunter2\"",
            ),
        ] {
            let environment = Environment::default();
            let error =
                Settings::parse_with_credentials(Some(&text), Some(credentials), &environment);
            let words = error.unwrap_err().to_string();
            assert!(
                words.contains("one source") && !words.contains("hunter2"),
                "{words}"
            );
        }
        let resource = "[proplet]\napi_key_resource = \"kbs:///p/host-credential/k\"";
        let error = Settings::parse_with_credentials(
            Some(&format!("{BROKER}{KBS}")),
            Some(resource),
            &Environment::default(),
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("credentials document")
        );
    }

    #[test]
    fn only_the_hosts_own_type_is_taken() {
        for (address, words) in [
            ("kbs:///p/key/mqtt", "host-credential"),
            ("kbs:///p/data/mqtt", "host-credential"),
            ("kbs:///p/Host-Credential/mqtt", "host-credential"),
            ("kbs:///p/mqtt", "three segments"),
            ("hunter", "[proplet]"),
        ] {
            let text = format!("[proplet]\napi_key_resource = {address:?}\n{BROKER}{KBS}");
            refused(&text, &[], &["[proplet] api_key_resource", words]);
        }
        refused(&format!("{API_KEY}{BROKER}"), &[], &["[kbs] url"]);
    }

    /// The host of a VM writes its environment: it must not be led the key.
    #[test]
    fn the_key_goes_to_the_broker_of_the_document_only() {
        let elsewhere = [("PROPLET_MQTT_ADDRESS", "mqtts://elsewhere")];
        refused(&format!("{API_KEY}{KBS}"), &[], &["[mqtt] address"]);
        refused(&format!("{API_KEY}{KBS}"), &elsewhere, &["[mqtt] address"]);
        refused(
            &format!("{API_KEY}{BROKER}{KBS}"),
            &elsewhere,
            &["PROPLET_MQTT_ADDRESS"],
        );
        let plain = [("PROPLET_MQTT_ADDRESS", "mqtt://broker")];
        refused(
            &format!("{API_KEY}{BROKER}{KBS}"),
            &plain,
            &["PROPLET_MQTT_ADDRESS"],
        );
        let ca = [("PROPLET_MQTT_TLS_CA_CERT", "/run/other.pem")];
        refused(
            &format!("{API_KEY}{BROKER}{KBS}"),
            &ca,
            &["PROPLET_MQTT_TLS_CA_CERT"],
        );
    }

    #[test]
    fn the_key_crosses_no_network_in_clear_unless_the_document_says_so() {
        let with = |address: &str, more: &str| {
            format!("{API_KEY}[mqtt]\naddress = {address:?}\n{more}{KBS}")
        };
        for address in [
            "mqtt://broker",
            "tcp://192.0.2.1",
            "localhost.example:1883",
            "10.0.0.1",
        ] {
            refused(
                &with(address, ""),
                &[],
                &["[mqtt] address", "in clear", "allow_plain_credentials"],
            );
            refused(
                &with(address, "allow_plain_credentials = false\n"),
                &[],
                &["in clear"],
            );
            let said = with(address, "allow_plain_credentials = true\n");
            let notices = settings(&said, &[]).unwrap().notices;
            assert!(
                notices.iter().any(|notice| notice.contains("in clear")),
                "{notices:?}"
            );
        }
        for here in ["mqtt://localhost", "127.0.0.1:1883", "tcp://[::1]:1883"] {
            settings(&with(here, ""), &[]).unwrap();
        }
        settings(&with("mqtts://broker", ""), &[]).unwrap();
    }

    #[test]
    fn an_address_is_public_and_may_be_in_init_data() {
        use proplet_hal::init_data::DigestAlgorithm;
        let text = format!("{API_KEY}{BROKER}{KBS}");
        let document = crate::init_data::init_data(&text, DigestAlgorithm::Sha256).unwrap();
        settings(document.text(), &[]).unwrap();
    }

    proptest! {
        #[test]
        fn any_address_is_of_the_type_or_refused(text in "(kbs:///)?[a-zA-Z/-]{0,40}") {
            if let Ok(uri) = address("proplet", "api_key_resource", &text, true) {
                prop_assert_eq!(uri.resource_type(), HOST_CREDENTIAL_TYPE);
            }
        }
    }
}
